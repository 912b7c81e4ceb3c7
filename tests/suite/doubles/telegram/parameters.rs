//! What a call of the Bot API is given, in any of the forms that the API takes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::doubles::http::Request;

/// Numbers and lists as they are written in JSON.
pub(crate) type Fields = BTreeMap<String, String>;
/// The name and the bytes of an uploaded file.
pub(crate) type Upload = Option<(String, Vec<u8>)>;

pub(super) fn parameters(request: &Request, query: &str) -> (Fields, Upload) {
    let kind = request.headers.get("content-type").map_or("", String::as_str);
    let (mut fields, file) = if let Some((_, boundary)) = kind.split_once("boundary=") {
        form(&request.body, boundary.trim_matches('"'))
    } else if kind.starts_with("application/x-www-form-urlencoded") {
        (pairs(&String::from_utf8_lossy(&request.body)), None)
    } else {
        (object(&request.body), None)
    };
    fields.extend(pairs(query));
    (fields, file)
}

fn object(body: &[u8]) -> Fields {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let fields = body.as_object().into_iter().flatten();
    fields.map(|(name, value)| (name.clone(), shown(value))).collect()
}

/// `a=b&c=d`, with what stands after `%` and `+` for a space.
fn pairs(text: &str) -> Fields {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        let (byte, taken) = match (first, code) {
            (b'%', Some(code)) => (code, 2),
            (b'+', _) => (b' ', 0),
            (other, _) => (*other, 0),
        };
        bytes.push(byte);
        rest = &after[taken..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn form(body: &[u8], boundary: &str) -> (Fields, Upload) {
    let (mut fields, mut file) = (BTreeMap::new(), None);
    let mark = format!("--{boundary}").into_bytes();
    let starts: Vec<usize> = (0..body.len()).filter(|at| body[*at..].starts_with(&mark)).collect();
    for pair in starts.windows(2) {
        let part = &body[pair[0] + mark.len() + 2..pair[1] - 2];
        let end = (0..part.len()).find(|at| part[*at..].starts_with(b"\r\n\r\n")).unwrap();
        let head = String::from_utf8_lossy(&part[..end]).into_owned();
        let content = part[end + 4..].to_vec();
        let attribute = |name: &str| {
            let (_, rest) = head.split_once(&format!(" {name}=\""))?;
            Some(rest.split('"').next().unwrap_or_default().to_owned())
        };
        match attribute("filename") {
            Some(name) => file = Some((name, content)),
            None => {
                let name = attribute("name").unwrap_or_default();
                fields.insert(name, String::from_utf8_lossy(&content).into_owned());
            }
        }
    }
    (fields, file)
}
