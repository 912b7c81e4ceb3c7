//! An HTTP server that stands in for a webhook or a chat: it keeps what it accepts, and refuses when it is told to.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

#[derive(Default)]
struct State {
    accepted: Vec<(String, Value)>,
    refused: usize,
    refuse_all: Option<u16>,
    next: VecDeque<(u16, String)>,
    refused_at: Option<Instant>,
    gap: Duration,
    is_over: bool,
}

pub(super) struct Double {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

impl Double {
    pub(super) fn start() -> Double {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let own = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if own.lock().unwrap().is_over {
                    return;
                }
                // A client that was killed in the middle of a request is none.
                if let Ok(stream) = stream {
                    let _ = serve(stream, &own);
                }
            }
        });
        Double {
            address,
            state,
            thread: Some(thread),
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers everything with this status from now on.
    pub(super) fn refuse(&self, status: u16) {
        self.state.lock().unwrap().refuse_all = Some(status);
    }

    pub(super) fn accept(&self) {
        self.state.lock().unwrap().refuse_all = None;
    }

    /// Answers the next request so, with this header.
    pub(super) fn answer_next(&self, status: u16, header: &str) {
        self.state.lock().unwrap().next.push_back((status, header.to_owned()));
    }

    pub(super) fn refused(&self) -> usize {
        self.state.lock().unwrap().refused
    }

    /// The time between the last refusal and what was accepted after it.
    pub(super) fn gap(&self) -> Duration {
        self.state.lock().unwrap().gap
    }

    /// Paths and bodies that were accepted.
    pub(super) fn requests(&self) -> Vec<(String, Value)> {
        self.state.lock().unwrap().accepted.clone()
    }

    pub(super) fn words(&self) -> Vec<Value> {
        self.requests().into_iter().map(|(_, body)| body).collect()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        if let Ok(mut state) = self.state.lock() {
            state.is_over = true;
        }
        // Wakes the thread, which then ends.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, header) = judge(state, path, &body);
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} x\r\n{header}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
}

fn judge(state: &Mutex<State>, path: String, body: &[u8]) -> (u16, String) {
    let mut state = state.lock().unwrap();
    let planned = state.next.pop_front();
    let refusal = planned.or(state.refuse_all.map(|status| (status, "x-refused: 1".to_owned())));
    match refusal {
        Some(answer) => {
            state.refused += 1;
            state.refused_at = Some(Instant::now());
            answer
        }
        None => {
            if let Some(at) = state.refused_at.take() {
                state.gap = at.elapsed();
            }
            state.accepted.push((path, serde_json::from_slice(body).unwrap()));
            (200, "x-accepted: 1".to_owned())
        }
    }
}
