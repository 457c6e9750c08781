//! A forward proxy between gateway and backend: HTTP (`CONNECT` and absolute targets), SOCKS 4a and SOCKS 5 on one port. What it
//! is asked to reach it replaces by the address it was made for, so that names need not exist.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The proxy.
#[derive(Debug)]
pub(crate) struct ForwardProxy {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    /// A proxy that leads to this port of the machine. `user` and `password` must be given by who uses it, when they are set.
    pub(crate) fn to(port: u16, credentials: Option<(&'static str, &'static str)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("it is bound").port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || {
                    let _ = serve(stream, port, credentials, &kept);
                });
            }
        });
        Self { port: own, asked }
    }

    /// What it was asked for, such as `CONNECT a.example:443` or `SOCKS5 a.example:80`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .expect("nobody panics while holding it")
            .clone()
    }
}

fn serve(
    mut client: TcpStream,
    port: u16,
    credentials: Option<(&str, &str)>,
    asked: &Mutex<Vec<String>>,
) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(30)))?;
    let note = |what: String| {
        asked
            .lock()
            .expect("nobody panics while holding it")
            .push(what)
    };
    let mut backend = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
    match byte(&mut client)? {
        4 => {
            byte(&mut client)?;
            let target_port = u16::from_be_bytes([byte(&mut client)?, byte(&mut client)?]);
            let mut address = [0; 4];
            client.read_exact(&mut address)?;
            let user = until_nul(&mut client)?;
            let host = match address {
                [0, 0, 0, _] => until_nul(&mut client)?,
                [a, b, c, d] => format!("{a}.{b}.{c}.{d}"),
            };
            note(format!("SOCKS4 {host}:{target_port}"));
            if credentials.is_some_and(|(wanted, _)| wanted != user) {
                return client.write_all(&[0, 93, 0, 0, 0, 0, 0, 0]);
            }
            client.write_all(&[0, 90, 0, 0, 0, 0, 0, 0])?;
        }
        5 => {
            let mut methods = vec![0; usize::from(byte(&mut client)?)];
            client.read_exact(&mut methods)?;
            match credentials {
                None => client.write_all(&[5, 0])?,
                Some(_) if !methods.contains(&2) => return client.write_all(&[5, 0xff]),
                Some((user, password)) => {
                    client.write_all(&[5, 2])?;
                    byte(&mut client)?;
                    let given = (text(&mut client)?, text(&mut client)?);
                    if given != (user.to_owned(), password.to_owned()) {
                        return client.write_all(&[1, 1]);
                    }
                    client.write_all(&[1, 0])?;
                }
            }
            let mut head = [0; 4];
            client.read_exact(&mut head)?;
            let host = match head[3] {
                1 => {
                    let mut address = [0; 4];
                    client.read_exact(&mut address)?;
                    std::net::Ipv4Addr::from(address).to_string()
                }
                _ => text(&mut client)?,
            };
            let target_port = u16::from_be_bytes([byte(&mut client)?, byte(&mut client)?]);
            note(format!("SOCKS5 {host}:{target_port}"));
            client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
        }
        first => {
            let mut head = vec![first];
            while !head.ends_with(b"\r\n\r\n") {
                head.push(byte(&mut client)?);
            }
            let text = String::from_utf8_lossy(&head).into_owned();
            let line = text.lines().next().unwrap_or_default();
            note(line.trim_end_matches(" HTTP/1.1").to_owned());
            if let Some((user, password)) = credentials {
                use base64::Engine as _;
                let wanted = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
                if !text.contains(&format!("Proxy-Authorization: Basic {wanted}\r\n")) {
                    return client.write_all(
                        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
                    );
                }
            }
            if text.starts_with("CONNECT ") {
                client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            } else {
                // An absolute target becomes a path, as a proxy does it; one request is enough here.
                let path = line
                    .split(' ')
                    .nth(1)
                    .and_then(|target| target.splitn(4, '/').nth(3))
                    .unwrap_or_default();
                let rest = text.split_once("\r\n").map_or("", |(_, rest)| rest);
                let method = line.split(' ').next().unwrap_or_default();
                backend.write_all(format!("{method} /{path} HTTP/1.1\r\n{rest}").as_bytes())?;
            }
        }
    }
    let (mut from_client, mut to_backend) = (client.try_clone()?, backend.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_backend);
    });
    io::copy(&mut backend, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)
}

fn byte(stream: &mut TcpStream) -> io::Result<u8> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn until_nul(stream: &mut TcpStream) -> io::Result<String> {
    let mut text = Vec::new();
    loop {
        match byte(stream)? {
            0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
            other => text.push(other),
        }
    }
}

fn text(stream: &mut TcpStream) -> io::Result<String> {
    let mut bytes = vec![0; usize::from(byte(stream)?)];
    stream.read_exact(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
