//! A queue server (`ElasticMQ`) that keeps to the rules of SQS (visibility, redrive, limits), from
//! Maven Central: fetched once into the target folder, and started once in each test process.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use super::maven::{self, Artifact};

const SERVER: [Artifact; 2] = [
    Artifact::jar("org.elasticmq", "elasticmq-server_2.13", "1.7.1"),
    Artifact::jar("ch.qos.logback", "logback-classic", "1.5.18"),
];

const OR_ELSE: &str = "the queue server of the tests (ElasticMQ) needs Java 17 or later and Maven, on \
     Debian `apt-get install default-jre-headless maven`; without them, set \
     TRAILHOUND_SKIP=elasticmq, and what needs a queue is not tested";

fn settings(port: u16) -> String {
    format!(
        "include classpath(\"application.conf\")
node-address {{ protocol = http, host = \"127.0.0.1\", port = {port}, context-path = \"\" }}
rest-sqs {{
  enabled = true, bind-hostname = \"127.0.0.1\", bind-port = {port}, sqs-limits = strict
}}
rest-stats {{ enabled = false }}
"
    )
}

/// A running server. It ends with the test process, however that ends: a shell waits for the end of
/// its own input, which this holds open, and kills the server.
pub struct ElasticMq {
    pub port: u16,
    shell: Child,
    input: Option<ChildStdin>,
}

/// A signal for the whole group, such as Ctrl-C, must not end the shell before it has killed Java.
const SHELL: &str = r#"
trap '' INT TERM HUP
"$@" </dev/null &
cat >/dev/null
kill -9 $!
"#;

impl ElasticMq {
    /// The server of this process, or why there is none.
    pub fn shared() -> Result<&'static Self, &'static str> {
        static SHARED: OnceLock<Result<ElasticMq, String>> = OnceLock::new();
        SHARED.get_or_init(Self::fetch_and_start).as_ref().map_err(String::as_str)
    }

    fn fetch_and_start() -> Result<Self, String> {
        maven::needs("java", "-version", OR_ELSE)?;
        let libraries = maven::fetch("elasticmq", &SERVER, OR_ELSE)?.jars();
        let mut why = String::new();
        // The port may be taken between the look for it and the start of the server.
        for _ in 0..3 {
            match Self::start(&libraries) {
                Ok(server) => return Ok(server),
                Err(log) => why = log,
            }
        }
        Err(format!("ElasticMQ does not start: {why}"))
    }

    fn start(libraries: &Path) -> Result<Self, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let folder = tempfile::tempdir().unwrap();
        let (config, log) = (folder.path().join("conf"), folder.path().join("log"));
        fs::write(&config, settings(port)).unwrap();
        let output = File::create(&log).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", SHELL, "sh", "java", "-Xmx128m", "-XX:+UseSerialGC"]);
        command.arg("-XX:TieredStopAtLevel=1").arg(format!("-Dconfig.file={}", config.display()));
        command.arg("-cp").arg(libraries.join("*")).arg("org.elasticmq.server.Main");
        command.stdin(Stdio::piped()).stdout(output.try_clone().unwrap()).stderr(output);
        let mut shell = command.spawn().unwrap();
        let input = shell.stdin.take();
        let server = Self { port, shell, input };
        let started = Instant::now();
        loop {
            let said = fs::read_to_string(&log).unwrap();
            if said.contains("started in") {
                return Ok(server);
            }
            let has_failed = said.contains("Exception") || said.contains("Error");
            if has_failed || started.elapsed() > Duration::from_mins(2) {
                return Err(said);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for ElasticMq {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.shell.wait();
    }
}
