//! A small server of HTTP/1.1, a thread for each connection, which stays open, and one request to such a server.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// Longer requests are not what bots send.
const BODY_BYTES_MAX: usize = 64 << 20;

pub(crate) struct Request {
    pub(crate) method: String,
    /// With what follows the question mark.
    pub(crate) path: String,
    /// Their names in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

pub(crate) enum Reply {
    Json(u16, String),
    Bytes(Vec<u8>),
    /// No body, and one header more.
    Empty(u16, String),
    /// The connection ends without a word.
    Nothing,
}

/// Serves until the test is over; returns where.
pub(crate) fn serve(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let handler = Arc::new(handler);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handler = Arc::clone(&handler);
            thread::spawn(move || converse(&stream, handler.as_ref()));
        }
    });
    address
}

fn converse(stream: &TcpStream, handler: &(dyn Fn(&Request) -> Reply + Send + Sync)) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let (status, header, body) = match handler(&request) {
            Reply::Json(status, text) => (status, "content-type: application/json".to_owned(), text.into_bytes()),
            Reply::Bytes(bytes) => (200, "content-type: application/octet-stream".to_owned(), bytes),
            Reply::Empty(status, header) => (status, header, Vec::new()),
            Reply::Nothing => return,
        };
        let head = format!(
            "HTTP/1.1 {status} Answer\r\n{header}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = stream;
        let written = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        let is_last = request.headers.get("connection").is_some_and(|word| word == "close");
        if written.is_err() || is_last {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    if headers
        .get("transfer-encoding")
        .is_some_and(|coding| coding == "chunked")
    {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let length = usize::from_str_radix(line.trim(), 16).ok()?;
            if body.len().saturating_add(length) > BODY_BYTES_MAX {
                return None;
            }
            let mut chunk = vec![0; length + 2];
            reader.read_exact(&mut chunk).ok()?;
            body.extend_from_slice(&chunk[..length]);
            if length == 0 {
                break;
            }
        }
    } else {
        let length = headers
            .get("content-length")
            .map_or(Some(0), |length| length.parse().ok())?;
        body = vec![0; Some(length).filter(|length| *length <= BODY_BYTES_MAX)?];
        reader.read_exact(&mut body).ok()?;
    }
    Some(Request {
        method,
        path,
        headers,
        body,
    })
}

/// The status and the body of the answer to a request; 0 where nobody answers.
pub(crate) fn exchange(address: &str, request: &str) -> (u16, String) {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_string(&mut answer);
    }
    let status = answer
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    (status, body)
}
