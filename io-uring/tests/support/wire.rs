//! Messages as raw bytes, and backends made of them.
#![allow(dead_code, reason = "not every test uses every part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// A backend that answers each connection's requests with `answer(head, body)`; a body of known length is read.
pub(crate) fn backend(
    answer: impl Fn(&str, &[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                let mut stream = stream;
                let mut bytes = Vec::new();
                while let Some((head, body)) = read_message(&mut stream, &mut bytes) {
                    let answer = answer(&head, &body);
                    if answer.is_empty() || stream.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Reads one message: head, and a body by Content-Length or chunks (raw).
pub(crate) fn read_message(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
) -> Option<(String, Vec<u8>)> {
    let mut more = |bytes: &mut Vec<u8>| {
        let mut piece = [0; 65_536];
        // A read with a time-out is not restarted after an interruption.
        let count = loop {
            match stream.read(&mut piece) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                outcome => break outcome.unwrap_or(0),
            }
        };
        bytes.extend_from_slice(&piece[..count]);
        count > 0
    };
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if !more(bytes) {
            return None;
        }
    };
    let head = String::from_utf8(bytes.drain(..end).collect()).expect("ASCII");
    let lower = head.to_ascii_lowercase();
    let length = lower
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next());
    if let Some(length) = length {
        let length: usize = length.parse().expect("a number");
        while bytes.len() < length {
            if !more(bytes) {
                return None;
            }
        }
        return Some((head, bytes.drain(..length).collect()));
    }
    if lower.contains("transfer-encoding: chunked") {
        let end = loop {
            if let Some(at) = bytes.windows(5).position(|window| window == b"0\r\n\r\n") {
                break at + 5;
            }
            if !more(bytes) {
                return None;
            }
        };
        return Some((head, bytes.drain(..end).collect()));
    }
    Some((head, Vec::new()))
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    stream
}

pub(crate) fn exchange(stream: &mut TcpStream, request: &[u8]) -> (String, Vec<u8>) {
    stream.write_all(request).expect("written");
    read_message(stream, &mut Vec::new()).expect("an answer")
}

pub(crate) fn dechunk(mut body: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let line = body
            .iter()
            .position(|byte| *byte == b'\r')
            .expect("a size line");
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).expect("ASCII"), 16)
            .expect("a size");
        body = &body[line + 2..];
        if size == 0 {
            return content;
        }
        content.extend_from_slice(&body[..size]);
        body = &body[size + 2..];
    }
}
