//! A file and the fields beside it as a form, which is how platforms take uploads.

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::clock;
use crate::model::units::show_size;
use crate::spool::new_id;

/// The content type and the bytes of the form. Errors, in one line, where the file cannot be sent.
pub(super) fn encode<'a>(
    fields: impl Iterator<Item = (&'a str, String)>,
    field: &str,
    path: &Path,
    mime: &str,
    bytes_max: u64,
) -> Result<(String, Vec<u8>), String> {
    let content = read(path, bytes_max)?;
    // Nobody can have written it into a file before: it is new each time.
    let boundary = new_id(clock::stamp());
    let mut body = Vec::with_capacity(content.len() + 1024);
    for (name, text) in fields {
        let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
        body.extend_from_slice(head.as_bytes());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name
        .chars()
        .map(|c| if c == '"' || c.is_control() { '_' } else { c })
        .collect();
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
         Content-Type: {mime}\r\n\r\n"
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(&content);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Ok((format!("multipart/form-data; boundary={boundary}"), body))
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let told = |why: String| format!("{}: {why}", path.display());
    let meta = fs::metadata(path).map_err(|error| told(error.to_string()))?;
    if !meta.is_file() {
        return Err(told("not a file that can be sent".to_owned()));
    }
    if meta.len() > bytes_max {
        return Err(told(format!(
            "{} long, at most {} can be sent",
            show_size(meta.len()),
            show_size(bytes_max)
        )));
    }
    let file = fs::File::open(path).map_err(|error| told(error.to_string()))?;
    let mut content = Vec::new();
    let mut bounded = file.take(bytes_max);
    bounded
        .read_to_end(&mut content)
        .map_err(|error| told(error.to_string()))?;
    Ok(content)
}
