//! An HTTP server that stands in for a webhook or a chat: it keeps what it accepts, and refuses when it is told to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::doubles::http::{Reply, Request, serve};

#[derive(Default)]
struct State {
    accepted: Vec<(String, Value)>,
    refused: usize,
    refuse_all: Option<u16>,
    next: VecDeque<(u16, String)>,
    refused_at: Option<Instant>,
    gap: Duration,
}

pub(super) struct Double {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Double {
    pub(super) fn start() -> Double {
        let state: Arc<Mutex<State>> = Arc::default();
        let own = Arc::clone(&state);
        let address = serve(move |request| judge(&own, request));
        Double { address, state }
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

fn judge(state: &Mutex<State>, request: &Request) -> Reply {
    let mut state = state.lock().unwrap();
    let planned = state.next.pop_front();
    let refusal = planned.or(state.refuse_all.map(|status| (status, "x-refused: 1".to_owned())));
    match refusal {
        Some((status, header)) => {
            state.refused += 1;
            state.refused_at = Some(Instant::now());
            Reply::Empty(status, header)
        }
        None => {
            if let Some(at) = state.refused_at.take() {
                state.gap = at.elapsed();
            }
            let body = serde_json::from_slice(&request.body).unwrap();
            state.accepted.push((request.path.clone(), body));
            Reply::Empty(200, "x-accepted: 1".to_owned())
        }
    }
}
