//! A small listener of HTTP/1.1 for webhooks: one request a connection, bounded in size, time and number. It is made for
//! loopback, behind a proxy that speaks TLS.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// Platforms send a few MiB at most.
const BODY_BYTES_MAX: usize = 4 << 20;
/// How long a whole request may take to come: whoever sends it byte by byte must not keep a place for himself.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a write of the answer may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a connection that could not be taken: what lacks, such as descriptors, lacks the next moment too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections at once; whoever comes then is closed, and comes again.
const CONNECTIONS_MAX: usize = 64;

/// What was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// What follows the question mark, decoded.
    pub query: BTreeMap<String, String>,
    /// Their names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// What is answered, as plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub text: String,
}

impl Reply {
    pub fn new(status: u16, text: impl Into<String>) -> Reply {
        Reply {
            status,
            text: text.into(),
        }
    }
}

/// A port that is listened at, until this is dropped.
pub struct Listener {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens at this address and hands each request to `answer`, which may take its time. Errors where the address
    /// cannot be had.
    pub fn begin(address: &str, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> io::Result<Listener> {
        let socket = TcpListener::bind(address)?;
        let address = socket.local_addr()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let accepting = thread::Builder::new()
            .name("webhooks".to_owned())
            .spawn(move || accept(&socket, &over, &Arc::new(answer)))?;
        Ok(Listener {
            address,
            is_over,
            accepting: Some(accepting),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes whoever accepts. Only who is awake is waited for: then the port is free when this returns, and the next
        // one can listen at it.
        let woken = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let (Ok(_), Some(accepting)) = (woken, self.accepting.take()) {
            let _ = accepting.join();
        }
    }
}

fn accept<A: Fn(&Request) -> Reply + Send + Sync + 'static>(socket: &TcpListener, over: &AtomicBool, answer: &Arc<A>) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in socket.incoming() {
        if over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        if open.load(Ordering::SeqCst) >= CONNECTIONS_MAX {
            continue;
        }
        open.fetch_add(1, Ordering::SeqCst);
        let (answer, counted) = (Arc::clone(answer), Arc::clone(&open));
        let handled = thread::Builder::new().name("webhook".to_owned()).spawn(move || {
            // Whoever breaks off comes again.
            let _ = converse(&stream, answer.as_ref());
            counted.fetch_sub(1, Ordering::SeqCst);
        });
        if handled.is_err() {
            open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn converse(stream: &TcpStream, answer: &(dyn Fn(&Request) -> Reply + Send + Sync)) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let reply = match read_within(REQUEST_TIME_MAX, stream)? {
        Ok(request) => answer(&request),
        Err(refusal) => refusal,
    };
    let mut out = BufWriter::new(stream);
    write!(
        out,
        "HTTP/1.1 {} {}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{}",
        reply.status,
        if reply.status < 400 { "OK" } else { "Refused" },
        reply.text.len(),
        reply.text
    )?;
    out.flush()
}

/// Reads a request and breaks off when it has not come in this time. A thread of its own watches over it, as a timeout
/// of the socket begins anew with each byte.
fn read_within(time: Duration, stream: &TcpStream) -> io::Result<Result<Request, Reply>> {
    thread::scope(|scope| {
        let (reading, is_read) = channel::<()>();
        thread::Builder::new().spawn_scoped(scope, move || {
            if is_read.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        })?;
        let request = read(&mut &*stream);
        drop(reading);
        request
    })
}

/// The request, or what to answer to one that cannot be one.
fn read(stream: &mut impl Read) -> io::Result<Result<Request, Reply>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let (head_len, mut request, length) = loop {
        let count = stream.read(&mut chunk)?;
        bytes.extend_from_slice(&chunk[..count]);
        match head(&bytes) {
            Ok(Some(head)) => break head,
            Err(refusal) => return Ok(Err(refusal)),
            Ok(None) if bytes.len() > HEAD_BYTES_MAX => return Ok(Err(Reply::new(431, "the head is too long"))),
            Ok(None) if count == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(None) => {}
        }
    };
    let mut body = bytes.split_off(head_len);
    while body.len() < length {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        body.extend_from_slice(&chunk[..count]);
    }
    body.truncate(length);
    request.body = body;
    Ok(Ok(request))
}

/// The length of the head, what it says, and the length of the body; None while it is not complete.
fn head(bytes: &[u8]) -> Result<Option<(usize, Request, usize)>, Reply> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Reply::new(400, format!("not understood: {error}"))),
    };
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        ..Request::default()
    };
    let query = parsed
        .path
        .and_then(|path| path.split_once('?'))
        .map_or("", |(_, query)| query);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        request.query.insert(decoded(name), decoded(value));
    }
    for header in parsed.headers.iter() {
        let value = String::from_utf8_lossy(header.value).trim().to_owned();
        request.headers.insert(header.name.to_lowercase(), value);
    }
    if request.headers.contains_key("transfer-encoding") {
        return Err(Reply::new(411, "send a content-length"));
    }
    let body = match request.headers.get("content-length") {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| Reply::new(400, "content-length is no number"))?,
    };
    if body > BODY_BYTES_MAX {
        return Err(Reply::new(413, "the body is too long"));
    }
    Ok(Some((length, request, body)))
}

/// A part of a query: `%2B` is `+`, and `+` is a space.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match (first, digits.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exchange(text: &[u8]) -> String {
        let echo = |request: &Request| {
            let body = String::from_utf8_lossy(&request.body);
            Reply::new(200, format!("{} {:?} {body}", request.method, request.query))
        };
        let listener = Listener::begin("127.0.0.1:0", echo).unwrap();
        let mut stream = TcpStream::connect(listener.address()).unwrap();
        let _ = stream.write_all(text);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn requests_are_read_whole_and_what_is_none_is_refused() {
        let answer = exchange(b"GET /hook?hub.mode=subscribe&hub.challenge=a%2Bb+c HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(
            answer.ends_with("GET {\"hub.challenge\": \"a+b c\", \"hub.mode\": \"subscribe\"} "),
            "{answer}"
        );
        let answer = exchange(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello and more");
        assert!(answer.ends_with("POST {} hello"), "{answer}");
        for (text, status) in [
            (b"nonsense\r\n\r\n".to_vec(), "400"),
            (b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n".to_vec(), "400"),
            (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n".to_vec(), "413"),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), "411"),
            (
                [b"GET / HTTP/1.1\r\nA: ".to_vec(), vec![b'x'; 20 << 10]].concat(),
                "431",
            ),
        ] {
            let answer = exchange(&text);
            assert!(
                answer.is_empty() && status == "431" || answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{answer}"
            );
        }
    }

    #[test]
    fn a_port_that_is_dropped_is_free_at_once() {
        let answer = |_: &Request| Reply::new(200, "");
        let mut listener = Listener::begin("127.0.0.1:0", answer).unwrap();
        let address = listener.address().to_string();
        assert!(Listener::begin(&address, answer).is_err());
        for _ in 0..20 {
            drop(listener);
            listener = Listener::begin(&address, answer).unwrap();
        }
    }

    #[test]
    fn a_request_that_comes_byte_by_byte_is_broken_off() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        let (server, _) = socket.accept().unwrap();
        // Each byte comes soon after the last one, and the head is never complete.
        let dripping = thread::spawn(move || {
            while client.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        });
        let ended = read_within(Duration::from_millis(100), &server).unwrap_err();
        // A byte that still comes after the end resets the connection, if it is quicker than the reader.
        let kinds = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
        assert!(kinds.contains(&ended.kind()), "{ended:?}");
        drop(server);
        dripping.join().unwrap();
    }

    proptest! {
        #[test]
        fn no_head_is_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[ -~\\r\\n]{0,200}") {
            let _ = head(&bytes);
            let _ = head(format!("GET /{text} HTTP/1.1\r\n{text}\r\n\r\n").as_bytes());
        }
    }
}
