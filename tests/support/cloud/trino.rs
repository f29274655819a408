//! Trino's own parser, from Maven Central: fetched once into the target folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    is_skipped,
    java::{self, Java, files, joined},
    maven::{self, Artifact},
};

const PARSER: Artifact = Artifact::jar("io.trino", "trino-parser", "476");
/// It is compiled for this Java.
const RELEASE: u32 = 24;

const PROGRAM: &str = include_str!("trino/Parse.java");

const OR_ELSE: &str = "Trino's parser needs Java 24 or later and Maven; without them, whether queries \
     run on Athena is not tested, as with TRAILHOUND_SKIP=trino";

/// A line for each file that is no statement of Trino's, and why; or why that is not known.
pub fn refused(test: &str, sql: &[PathBuf]) -> Result<String, String> {
    if is_skipped(test, "trino") {
        return Err("it was skipped".into());
    }
    let java = Java::find(RELEASE, OR_ELSE)?;
    let jars = maven::fetch("trino-parser", &[PARSER], OR_ELSE)?.jars();
    let program = maven::cache("trino-parser-program", PROGRAM);
    maven::once(&program, |folder| {
        let compiler = java::compiler(OR_ELSE)?;
        fs::write(folder.join("Parse.java"), PROGRAM).unwrap();
        let mut compile = Command::new(&java.program);
        compile.arg("-jar").arg(compiler).args(["-17", "-nowarn", "-proc:none", "Parse.java"]);
        run(compile.current_dir(folder)).map(|_| ())
    })?;
    let mut class_path = files(&jars);
    class_path.insert(0, program);
    let mut parse = Command::new(&java.program);
    parse.args([
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        &joined(&class_path),
        "Parse",
    ]);
    run(parse.args(sql.iter().map(|path| -> &Path { path })))
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}
