//! A queue server (`ElasticMQ`) that keeps to the rules of SQS (visibility, redrive, limits), from
//! Maven Central: fetched once into the target folder, and started once in each test process.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

const VERSION: &str = "1.7.1";
const LOGBACK: &str = "1.5.18";

/// The folder for everything of this version.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("elasticmq-{VERSION}"))
}

/// Whether a program runs, and if not, what it takes.
fn needs(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    if output.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    Err(format!(
        "the queue server of the tests (ElasticMQ) needs `{program}`: install Java 17 or later and \
         Maven, on Debian with `apt-get install default-jre-headless maven`; without them, set \
         TRAILHOUND_SKIP=elasticmq, and what needs a queue is not tested"
    ))
}

/// The server's libraries: fetched if they are not there, by one process at a time, and seen by
/// others once they are complete.
fn libraries() -> Result<PathBuf, String> {
    let complete = cache().join("lib");
    fs::create_dir_all(cache()).unwrap();
    let lock = File::create(cache().join("lock")).unwrap();
    lock.lock().unwrap();
    if complete.is_dir() {
        return Ok(complete);
    }
    needs("mvn", &["--version"])?;
    let arriving = cache().join("arriving");
    let _ = fs::remove_dir_all(&arriving);
    fs::create_dir_all(&arriving).unwrap();
    let pom = arriving.join("pom.xml");
    fs::write(&pom, project()).unwrap();
    let mut fetch = Command::new("mvn");
    fetch.args(["--batch-mode", "--quiet", "dependency:copy-dependencies", "--file"]).arg(&pom);
    fetch.arg(format!("-DoutputDirectory={}", arriving.join("lib").display()));
    let output = fetch.output().unwrap();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        return Err(format!("Maven could not fetch ElasticMQ {VERSION}: {said}"));
    }
    fs::rename(arriving.join("lib"), &complete).unwrap();
    fs::remove_dir_all(&arriving).unwrap();
    Ok(complete)
}

fn project() -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">
  <modelVersion>4.0.0</modelVersion>
  <groupId>trailhound</groupId>
  <artifactId>queue-for-tests</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.elasticmq</groupId>
      <artifactId>elasticmq-server_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>ch.qos.logback</groupId>
      <artifactId>logback-classic</artifactId>
      <version>{LOGBACK}</version>
    </dependency>
  </dependencies>
</project>
"
    )
}

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
        needs("java", &["-version"])?;
        let libraries = libraries()?;
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
