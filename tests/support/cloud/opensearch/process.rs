//! A node's process, from its start to its end.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// It ends with the test process, however that ends: it stops when its input does, which this holds
/// open.
pub struct Process {
    pub address: SocketAddr,
    child: Child,
    input: Option<ChildStdin>,
}

impl Process {
    /// Starts Java with these arguments on a node's home, and waits until the node has a port.
    pub fn start(java: &Path, arguments: &[String], home: &Path) -> Result<Self, String> {
        let address = home.join("http.addr");
        let _ = fs::remove_file(&address);
        // What Java and its libraries unpack goes with the home.
        let temporary = home.join("tmp");
        fs::create_dir_all(&temporary).unwrap();
        let log = File::options().create(true).append(true).open(home.join("log")).unwrap();
        let mut command = Command::new(java);
        command.arg(format!("-Djava.io.tmpdir={}", temporary.display())).args(arguments);
        command.current_dir(home).stdin(Stdio::piped());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().map_err(|e| format!("{}: {e}", java.display()))?;
        let input = child.stdin.take();
        let started = Instant::now();
        loop {
            if let Ok(address) = fs::read_to_string(&address) {
                return Ok(Self { address: address.parse().unwrap(), child, input });
            }
            let ended = child.try_wait().unwrap();
            if ended.is_some() || started.elapsed() > Duration::from_mins(3) {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("OpenSearch does not start: {}", log_of(home)));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// With SIGKILL; nothing if it has ended.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Lets it stop by itself.
    pub fn stop(mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of a node's log.
pub fn log_of(home: &Path) -> String {
    let log = fs::read(home.join("log")).unwrap_or_default();
    String::from_utf8_lossy(&log[log.len().saturating_sub(6000)..]).into_owned()
}
