//! A fast origin: one epoll thread, HTTP/1.1 keep-alive. `GET /b/<n>` answers `n` bytes, `POST /echo` sends the body back
//! while it arrives, everything else gets a small 200. It is fast enough that the proxy in front of it is what one measures.

mod connection;
mod request;

use std::io;
use std::net::TcpListener;

use crate::poller::Poller;
use connection::{Connection, Status};

/// Serves `listener` for ever.
pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut poller = Poller::new(1_024)?;
    poller.add_listener(listener, LISTENER)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    loop {
        poller.wait(None)?;
        let mut index = 0;
        while let Some(event) = poller.event(index) {
            index += 1;
            if event.token == LISTENER {
                if let Ok((stream, _)) = listener.accept()
                    && let Ok(connection) = Connection::new(stream)
                {
                    let slot = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    poller.add(connection.stream(), slot)?;
                    connections[slot] = Some(connection);
                }
                continue;
            }
            let Some(connection) = connections.get_mut(event.token).and_then(Option::as_mut) else {
                continue;
            };
            if !matches!(
                connection.advance(event.readable, event.ended),
                Ok(Status::Open)
            ) {
                connections[event.token] = None;
                free.push(event.token);
            }
        }
    }
}

const LISTENER: usize = usize::MAX;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, SocketAddr, TcpStream};
    use std::time::Duration;

    use super::*;

    fn start() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || serve(&listener));
        address
    }

    fn exchange(pieces: &[&[u8]]) -> Vec<u8> {
        let mut stream = TcpStream::connect(start()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream.set_nodelay(true).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let sender = std::thread::spawn(move || {
            for piece in pieces {
                writer.write_all(&piece).unwrap();
            }
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        sender.join().unwrap();
        answer
    }

    fn head(body_bytes: usize) -> String {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {body_bytes}\r\n\r\n"
        )
    }

    /// Pipelined requests are answered in order, however the bytes are cut.
    #[test]
    fn answers_pipelined_requests_in_order() {
        let requests = b"GET /b/3 HTTP/1.1\r\n\r\nPOST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloPOST /x HTTP/1.1\r\nContent-Length: 4\r\n\r\nskipHEAD /b/9 HTTP/1.1\r\n\r\n";
        let expected = format!("{}xxx{}hello{}xx{}", head(3), head(5), head(2), head(9));
        for cut in [0, 1, 20, 21, 22, 60, 70, 72, requests.len() - 1] {
            let (first, second) = requests.split_at(cut);
            assert_eq!(
                String::from_utf8(exchange(&[first, second])).unwrap(),
                expected,
                "cut at {cut}"
            );
        }
    }

    /// Bodies beyond every buffer arrive whole: one from the page, one echoed while it is still being sent.
    #[test]
    fn answers_and_echoes_megabytes() {
        let answer = exchange(&[b"GET /b/5000000 HTTP/1.1\r\n\r\n"]);
        assert_eq!(answer.len(), head(5_000_000).len() + 5_000_000);
        let body: Vec<u8> = (0..5_000_000_u32)
            .map(|index| (index % 253) as u8)
            .collect();
        let answer = exchange(&[
            b"POST /echo HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n",
            &body,
        ]);
        assert!(
            answer[head(5_000_000).len()..] == body,
            "the echo differs from what was sent"
        );
    }

    /// A head without end is refused when the buffer is full, and the connection is closed.
    #[test]
    fn refuses_an_endless_head() {
        let answer = String::from_utf8(exchange(&[
            b"GET / HTTP/1.1\r\nA: ",
            &vec![b'a'; 32 * 1024 - 19],
        ]))
        .unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 431 ") && answer.contains("connection: close"),
            "{answer}"
        );
    }
}
