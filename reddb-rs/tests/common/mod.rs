//! A real server, started for a test and killed with it, and plain clients for it.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reddb::resp::reply::{push_array, push_bulk};
use reddb::resp::value::RespValue;

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Server {
    process: Child,
    pub resp_port: u16,
    pub http_port: u16,
}

impl Server {
    /// Starts the binary on `directory` and returns once it serves.
    pub fn start(directory: &Path) -> Self {
        Self::start_with(directory, &[])
    }

    /// As [`Server::start`], with further flags.
    pub fn start_with(directory: &Path, flags: &[&str]) -> Self {
        Self::launch(Command::new(env!("CARGO_BIN_EXE_reddb")), directory, flags)
    }

    /// As [`Server::start`], where no file may grow beyond `kib`: writes beyond fail, as on a full disk.
    pub fn start_with_file_limit(directory: &Path, kib: usize) -> Self {
        // `ulimit -f` counts in 512 bytes. The signal that comes with a refused write would end the process at once.
        let script = format!("trap '' XFSZ; ulimit -f {} && exec \"$0\" \"$@\"", kib * 2);
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_reddb")]);
        Self::launch(command, directory, &[])
    }

    fn launch(mut command: Command, directory: &Path, flags: &[&str]) -> Self {
        let token_file = directory.join("token");
        std::fs::write(&token_file, TOKEN).unwrap();
        let (resp_port, http_port) = (free_port(), free_port());
        let mut process = command
            .arg("serve")
            .arg("--data-dir")
            .arg(directory.join("data"))
            .arg("--token-file")
            .arg(&token_file)
            .args(["--resp-listen", &format!("127.0.0.1:{resp_port}")])
            .args(["--http-listen", &format!("127.0.0.1:{http_port}")])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("\"serving\"") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the server ended before it served");
        }
        // Whatever it logs later must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { process, resp_port, http_port }
    }

    /// SIGKILL: no chance to finish anything.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// SIGTERM; returns whether the server ended well.
    pub fn stop(&mut self) -> bool {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.wait()
    }

    /// Waits until the server ends by itself; returns whether it ended well.
    pub fn wait(&mut self) -> bool {
        self.process.wait().unwrap().success()
    }

    pub fn client(&self) -> Client {
        let mut client = self.stranger();
        assert_eq!(client.call(&["AUTH", TOKEN]), RespValue::Simple("OK".into()));
        client
    }

    /// A client without a token.
    pub fn stranger(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.resp_port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream, input: Vec::new() }
    }

    /// One HTTP request; `None` if the connection broke. Status and body otherwise.
    pub fn http(&self, method: &str, path: &str, token: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http_port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: reddb\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\
             Content-Type: application/json\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body).ok()?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).ok()?;
        let end = reply.windows(4).position(|window| window == b"\r\n\r\n")?;
        let status = std::str::from_utf8(&reply[..end]).ok()?.split(' ').nth(1)?.parse().ok()?;
        Some((status, reply[end + 4..].to_vec()))
    }

    /// The first metric whose line begins with `name`.
    pub fn metric(&self, name: &str) -> String {
        let (_, text) = self.http("GET", "/metrics", "", b"").unwrap();
        let text = String::from_utf8(text).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub struct Client {
    pub stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    /// Runs a command that must be answered.
    pub fn call(&mut self, args: &[&str]) -> RespValue {
        self.try_call(args).expect("the server answers")
    }

    /// `None`: the connection broke before the reply.
    pub fn try_call(&mut self, args: &[&str]) -> Option<RespValue> {
        self.stream.write_all(&wire(args)).ok()?;
        self.receive()
    }

    /// The next reply.
    pub fn receive(&mut self) -> Option<RespValue> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some((value, used)) = RespValue::decode(&self.input) {
                self.input.drain(..used);
                return Some(value);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.input.extend_from_slice(&chunk[..length]),
            }
        }
    }
}

/// Asks again and again until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
    }
}

/// A command as it is sent.
pub fn wire(args: &[&str]) -> Vec<u8> {
    let mut wire = Vec::new();
    push_array(&mut wire, args.len());
    for arg in args {
        push_bulk(&mut wire, arg.as_bytes());
    }
    wire
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
