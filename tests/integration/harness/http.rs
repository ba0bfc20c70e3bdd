//! A client that sees every byte: the answers on a connection, and the way in which it ended.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socket2::{Domain, Type};

use super::DEADLINE;

/// An answer as it came.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Its Content-Length.
    pub(crate) fn len(&self) -> Option<usize> {
        self.header("content-length")?.parse().ok()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// The list of an answer without errors.
    pub(crate) fn success(&self) -> Vec<serde_json::Value> {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["success"].as_array().expect("a list").clone()
    }

    /// Code and message key of the first error.
    pub(crate) fn error(&self) -> (u64, String) {
        let json = self.json();
        assert_eq!(json["success"], serde_json::Value::Null);
        let error = &json["errors"][0];
        (error["code"].as_u64().expect("a code"), error["message_key"].as_str().expect("a key").to_owned())
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Stream {
    /// A socket with a time limit is not read on by itself after an interruption (signal(7)), which a process that
    /// starts others may meet.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Stream::Tcp(stream) => stream.read(buffer),
                Stream::Unix(stream) => stream.read(buffer),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

/// One connection, kept alive.
pub(crate) struct Connection {
    reader: BufReader<Stream>,
}

impl Connection {
    /// Connects to `http://host:port` or `unix:/path`.
    pub(crate) fn open(address: &str) -> io::Result<Self> {
        Connection::open_within(address, DEADLINE)
    }

    /// The same; connecting over TCP, each read and each write may take so long.
    pub(crate) fn open_within(address: &str, patience: Duration) -> io::Result<Self> {
        let stream = match address.strip_prefix("unix:") {
            Some(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
                Stream::Unix(stream)
            }
            None => {
                let address = address.trim_start_matches("http://").parse().map_err(io::Error::other)?;
                let stream = TcpStream::connect_timeout(&address, patience)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
                Stream::Tcp(stream)
            }
        };
        Ok(Connection { reader: BufReader::new(stream) })
    }

    /// Connects over TCP with a receive buffer as small as the kernel allows, so that an
    /// answer that is not read stops its sender.
    pub(crate) fn open_narrow(address: &str) -> io::Result<Self> {
        let address: SocketAddr = address.trim_start_matches("http://").parse().map_err(io::Error::other)?;
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_recv_buffer_size(1)?;
        socket.connect(&address.into())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Connection { reader: BufReader::new(Stream::Tcp(stream)) })
    }

    /// Connects over TCP from this address.
    pub(crate) fn open_from(address: &str, client: &str) -> io::Result<Self> {
        let address: SocketAddr = address.trim_start_matches("http://").parse().map_err(io::Error::other)?;
        let client: IpAddr = client.parse().map_err(io::Error::other)?;
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(client, 0).into())?;
        socket.connect(&address.into())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Connection { reader: BufReader::new(Stream::Tcp(stream)) })
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.reader.get_mut() {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Sends a request with these header lines and reads the answer.
    pub(crate) fn request(&mut self, method: &str, target: &str, headers: &[&str]) -> io::Result<Answer> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n");
        for line in headers {
            head.push_str(line);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        self.send(head.as_bytes())?;
        self.answer(method)
    }

    /// Sends a GET and reads the answer.
    pub(crate) fn get(&mut self, target: &str) -> io::Result<Answer> {
        self.request("GET", target, &[])
    }

    /// Reads the answer to a request that was sent with `method`.
    pub(crate) fn answer(&mut self, method: &str) -> io::Result<Answer> {
        let mut answer = self.head()?;
        let bodyless = method == "HEAD" || answer.status == 304 || answer.status == 204;
        if !bodyless && answer.header("transfer-encoding") == Some("chunked") {
            answer.body = self.chunks()?;
        } else if !bodyless {
            answer.body = vec![0; answer.len().ok_or_else(|| io::Error::other("no Content-Length"))?];
            self.reader.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }

    /// Reads a body in chunks, with an empty one at its end and no trailers.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let len = usize::from_str_radix(&line, 16);
            let len = len.map_err(|_| io::Error::other(format!("length of a chunk: {line:?}")))?;
            let begin = body.len();
            body.resize(begin + len, 0);
            self.reader.read_exact(&mut body[begin..])?;
            if !self.line()?.is_empty() {
                return Err(io::Error::other("a chunk is longer than it says"));
            }
            if len == 0 {
                return Ok(body);
            }
        }
    }

    /// Reads an answer up to its body.
    pub(crate) fn head(&mut self) -> io::Result<Answer> {
        let status_line = self.line()?;
        let status =
            status_line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("status line {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Answer { status, headers, body: Vec::new() });
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| io::Error::other(format!("header {line:?}")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads some of the received bytes, at most `len_max`; none at the end.
    pub(crate) fn read(&mut self, len_max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len_max];
        let len = self.reader.read(&mut bytes)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Waits until something has come, and leaves it there.
    pub(crate) fn first_byte(&mut self) -> io::Result<()> {
        match self.reader.fill_buf()? {
            [] => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            _ => Ok(()),
        }
    }

    /// Returns the bytes up to the end of the connection. A reset counts as an end: the kernel
    /// sends one if the server has not read all bytes.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
            _ => Ok(rest),
        }
    }

    /// All answers until the server closes the connection. Only the last may be cut.
    ///
    /// # Panics
    /// If something else than an answer comes, or nothing for too long.
    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        loop {
            match self.answer("GET") {
                Ok(answer) => answers.push(answer),
                Err(error) => match error.kind() {
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => return answers,
                    _ => panic!("after {answers:?}: {error}"),
                },
            }
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn end_sending(&mut self) -> io::Result<()> {
        match self.reader.get_mut() {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        if !line.ends_with("\r\n") {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("cut line {line:?}")));
        }
        line.truncate(line.len() - 2);
        Ok(line)
    }
}

/// One GET on a connection of its own.
///
/// # Panics
/// If there is no whole answer.
pub(crate) fn get(address: &str, target: &str) -> Answer {
    let answer = Connection::open(address).and_then(|mut connection| connection.get(target));
    answer.unwrap_or_else(|error| panic!("GET {target}: {error}"))
}
