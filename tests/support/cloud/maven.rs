//! Java programs for the tests, from Maven Central: fetched once into the target folder.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use xxhash_rust::xxh3::xxh3_64;

/// Newer than the one that Maven takes by itself: it must unpack what it fetches.
const PLUGIN: &str = "3.8.1";

/// What to fetch, with all that it depends on.
pub struct Artifact {
    pub group: &'static str,
    pub name: &'static str,
    pub version: &'static str,
    /// Only the files in this archive, without what it depends on.
    pub unpack: bool,
}

impl Artifact {
    pub const fn jar(group: &'static str, name: &'static str, version: &'static str) -> Self {
        Self { group, name, version, unpack: false }
    }

    pub const fn zip(group: &'static str, name: &'static str, version: &'static str) -> Self {
        Self { group, name, version, unpack: true }
    }

    fn dependency(&self) -> String {
        let Self { group, name, version, unpack } = self;
        let rest = if *unpack {
            "<type>zip</type><exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId>\
             </exclusion></exclusions>"
        } else {
            ""
        };
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>\
             <version>{version}</version>{rest}</dependency>\n"
        )
    }
}

/// Where the fetched files are.
pub struct Fetched {
    folder: PathBuf,
}

impl Fetched {
    /// The folder of all jars.
    pub fn jars(&self) -> PathBuf {
        self.folder.join("jars")
    }

    /// The folder of what was unpacked.
    pub fn unpacked(&self) -> PathBuf {
        self.folder.join("unpacked")
    }
}

/// Whether a program runs; `or_else` says what it takes if not.
pub fn needs(program: &str, argument: &str, or_else: &str) -> Result<(), String> {
    let output = Command::new(program).arg(argument).output();
    if output.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    Err(format!("`{program}` does not run: {or_else}"))
}

/// A folder of the target folder for what these words describe: others have another.
pub fn cache(name: &str, description: &str) -> PathBuf {
    let hash = xxh3_64(description.as_bytes()) as u32;
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{hash:08x}"))
}

/// Makes `folder` if it is not there, by one process at a time. `make` fills another folder, which
/// is renamed once it is complete, so that nobody sees a part of it.
pub fn once(folder: &Path, make: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let beside = |what: &str| PathBuf::from(format!("{}.{what}", folder.display()));
    let lock = File::create(beside("lock")).unwrap();
    lock.lock().unwrap();
    if folder.is_dir() {
        return Ok(());
    }
    let arriving = beside("arriving");
    let _ = fs::remove_dir_all(&arriving);
    fs::create_dir_all(&arriving).unwrap();
    make(&arriving)?;
    fs::rename(&arriving, folder).unwrap();
    Ok(())
}

/// Fetches the artifacts if they are not there. `or_else` says what to do without Maven.
pub fn fetch(name: &str, artifacts: &[Artifact], or_else: &str) -> Result<Fetched, String> {
    let project = project(artifacts);
    let folder = cache(name, &project);
    once(&folder, |arriving| {
        needs("mvn", "--version", or_else)?;
        let file = arriving.join("pom.xml");
        fs::write(&file, &project).unwrap();
        let mut fetch = Command::new("mvn");
        fetch.args(["--batch-mode", "--quiet", "process-resources", "--file"]).arg(&file);
        let output = fetch.output().unwrap();
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stdout);
        Err(format!("Maven could not fetch {name}: {said}"))
    })?;
    Ok(Fetched { folder })
}

fn project(artifacts: &[Artifact]) -> String {
    let dependencies: String = artifacts.iter().map(Artifact::dependency).collect();
    let execution = |id: &str, goal: &str, kind: &str, folder: &str| {
        format!(
            "<execution><id>{id}</id><phase>process-resources</phase>\
             <goals><goal>{goal}</goal></goals><configuration><includeTypes>{kind}</includeTypes>\
             <includeScope>runtime</includeScope>\
             <outputDirectory>${{project.basedir}}/{folder}</outputDirectory>\
             </configuration></execution>\n"
        )
    };
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">
<modelVersion>4.0.0</modelVersion>
<groupId>trailhound</groupId>
<artifactId>for-tests</artifactId>
<version>1</version>
<packaging>pom</packaging>
<dependencies>
{dependencies}</dependencies>
<build><plugins><plugin>
<artifactId>maven-dependency-plugin</artifactId>
<version>{PLUGIN}</version>
<executions>
{}{}</executions>
</plugin></plugins></build>
</project>
",
        execution("jars", "copy-dependencies", "jar", "jars"),
        execution("archives", "unpack-dependencies", "zip", "unpacked"),
    )
}
