//! What a node is started from: a Java that runs it, its jars, the program that embeds it, and an
//! archive of loaded classes, which makes a start take half the time.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{
    super::{
        java::{self, Java, files, joined},
        maven::{self, Artifact},
    },
    Version,
    process::Process,
    tls::Authority,
};

const PROGRAM: &str = include_str!("OsNode.java");
const PACKER: &str = include_str!("Pack.java");
const LOGGING: &str = include_str!("log4j2.properties");

const SECURITY: &str = "org.opensearch.security.OpenSearchSecurityPlugin";

/// TLS by the files that [`Authority::write`] writes, and users as the plugin brings them.
const SECURITY_SETTINGS: [&str; 13] = [
    "plugins.security.ssl.transport.pemcert_filepath=node.pem",
    "plugins.security.ssl.transport.pemkey_filepath=node.key",
    "plugins.security.ssl.transport.pemtrustedcas_filepath=ca.pem",
    "plugins.security.ssl.transport.enforce_hostname_verification=false",
    "plugins.security.ssl.http.enabled=true",
    "plugins.security.ssl.http.pemcert_filepath=node.pem",
    "plugins.security.ssl.http.pemkey_filepath=node.key",
    "plugins.security.ssl.http.pemtrustedcas_filepath=ca.pem",
    "plugins.security.allow_default_init_securityindex=true",
    "plugins.security.authcz.admin_dn=CN=admin",
    "plugins.security.nodes_dn=CN=node",
    "plugins.security.audit.type=noop",
    "plugins.security.restapi.roles_enabled.0=all_access",
];

fn artifacts(version: Version) -> Vec<Artifact> {
    let number = version.number();
    let mut artifacts = vec![Artifact::jar("org.opensearch", "opensearch", number)];
    let modules = [
        "transport-netty4-client",
        "analysis-common",
        "mapper-extras-client",
        "lang-painless",
        "ingest-common",
        "reindex-client",
    ];
    artifacts.extend(modules.map(|name| Artifact::jar("org.opensearch.plugin", name, number)));
    // It is needed, but not asked for.
    let log4j = if version == Version::V3_8 { "2.25.4" } else { "2.21.0" };
    artifacts.push(Artifact::jar("org.apache.logging.log4j", "log4j-core", log4j));
    if version == Version::V3_4Security {
        let zip = Artifact::zip("org.opensearch.plugin", "opensearch-security", "3.4.0.0");
        // The plugin's archive lacks it, and each request would fail for it.
        artifacts.extend([zip, Artifact::jar("org.apache.commons", "commons-collections4", "4.4")]);
    }
    artifacts
}

pub struct Installed {
    version: Version,
    java: PathBuf,
    class_path: String,
    /// The folder of the node's program.
    program: PathBuf,
    /// The archive of classes; there is none if this Java cannot write one.
    archive: PathBuf,
    /// What the security plugin starts with.
    users: PathBuf,
}

impl Installed {
    /// What nodes of a version start from: made ready by the first test that asks, or why not.
    pub fn get(version: Version) -> Result<&'static Self, String> {
        static ALL: [OnceLock<Result<Installed, String>>; 3] = [const { OnceLock::new() }; 3];
        let installed = ALL[version as usize].get_or_init(|| Self::install(version));
        installed.as_ref().map_err(Clone::clone)
    }

    fn install(version: Version) -> Result<Self, String> {
        let number = version.number();
        let java = Java::find(version.java(), &or_else(version))?;
        let or_else = or_else(version);
        let compiler = java::compiler(&or_else)?;
        let fetched = maven::fetch(&format!("opensearch-{number}"), &artifacts(version), &or_else)?;
        let mut jars = files(&fetched.jars());
        let known: BTreeSet<_> = jars.iter().map(|jar| artifact(jar).to_owned()).collect();
        // The plugin brings copies of what the node has.
        let plugin =
            files(&fetched.unpacked()).into_iter().filter(|jar| !known.contains(artifact(jar)));
        jars.extend(plugin);

        let source = match version {
            Version::V2_19 => PROGRAM.replace("ModulePlugin", "Plugin"),
            Version::V3_8 | Version::V3_4Security => PROGRAM.to_owned(),
        };
        let description = format!("{source}{PACKER}{LOGGING}{jars:?}");
        let program = maven::cache(&format!("opensearch-{number}-program"), &description);
        maven::once(&program, |folder| {
            fs::write(folder.join("OsNode.java"), &source).unwrap();
            fs::write(folder.join("Pack.java"), PACKER).unwrap();
            fs::write(folder.join("log4j2.properties"), LOGGING).unwrap();
            compile(&java.program, &compiler, &joined(&jars), folder)
        })?;
        jars.insert(0, program.join("node.jar"));

        let description = format!("{} {}", program.display(), java.build);
        let archive = maven::cache(&format!("opensearch-{number}-classes"), &description);
        let installed = Self {
            version,
            java: java.program,
            class_path: joined(&jars),
            program,
            archive: archive.join("classes.jsa"),
            users: fetched.unpacked().join("config"),
        };
        maven::once(&archive, |folder| installed.archive_classes(&folder.join("classes.jsa")))?;
        Ok(installed)
    }

    /// Starts a node and stops it, to have the classes that it has loaded. The archive is written
    /// here and nowhere else, so that no node reads what another is writing.
    fn archive_classes(&self, archive: &Path) -> Result<(), String> {
        let home = tempfile::tempdir().unwrap();
        self.furnish(home.path());
        let into = format!("-XX:ArchiveClassesAtExit={}", archive.display());
        self.start_with(&into, home.path(), &[])?.stop();
        Ok(())
    }

    /// Prepares a node's home; with the security plugin, returns who has signed its certificate.
    pub fn furnish(&self, home: &Path) -> Option<Authority> {
        if self.version != Version::V3_4Security {
            return None;
        }
        let users = home.join("config/opensearch-security");
        fs::create_dir_all(&users).unwrap();
        for file in fs::read_dir(&self.users).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), users.join(file.file_name())).unwrap();
        }
        let authority = Authority::new();
        authority.write(&home.join("config"));
        Some(authority)
    }

    pub fn start(&self, home: &Path, settings: &[(String, String)]) -> Result<Process, String> {
        self.start_with(
            &format!("-XX:SharedArchiveFile={}", self.archive.display()),
            home,
            settings,
        )
    }

    fn start_with(
        &self,
        archive: &str,
        home: &Path,
        settings: &[(String, String)],
    ) -> Result<Process, String> {
        let logging = self.program.join("log4j2.properties");
        let mut arguments = vec![
            "-Xms256m".to_owned(),
            "-Xmx512m".to_owned(),
            // Half the processor time for a start.
            "-XX:TieredStopAtLevel=1".to_owned(),
            "-XX:+UseSerialGC".to_owned(),
            "-XX:-UsePerfData".to_owned(),
            // It warns of archives that it does not use.
            "-Xlog:disable".to_owned(),
            archive.to_owned(),
            format!("-Dlog4j2.configurationFile={}", logging.display()),
            "-cp".to_owned(),
            self.class_path.clone(),
            "OsNode".to_owned(),
            home.display().to_string(),
        ];
        if self.version == Version::V3_4Security {
            arguments.push(format!("plugin:{SECURITY}"));
            arguments.extend(SECURITY_SETTINGS.map(str::to_owned));
        }
        arguments.extend(settings.iter().map(|(name, value)| format!("{name}={value}")));
        Process::start(&self.java, &arguments, home)
    }
}

/// A jar, since classes from a folder cannot be archived.
fn compile(java: &Path, compiler: &Path, class_path: &str, folder: &Path) -> Result<(), String> {
    let run = |command: &mut Command| {
        let output = command.current_dir(folder).output().unwrap();
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
    };
    let mut compile = Command::new(java);
    compile.arg("-jar").arg(compiler).args(["-17", "-nowarn", "-proc:none", "-d", "classes"]);
    run(compile.args(["-cp", class_path, "OsNode.java", "Pack.java"]))?;
    run(Command::new(java).args(["-cp", "classes", "Pack", "classes", "node.jar"]))
}

/// The name of a jar without its version.
fn artifact(jar: &Path) -> &str {
    let name = jar.file_stem().and_then(|name| name.to_str()).unwrap();
    let version = name.match_indices('-').map(|(at, _)| at);
    let mut version = version.filter(|at| name[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    version.next().map_or(name, |at| &name[..at])
}

fn or_else(version: Version) -> String {
    format!(
        "the nodes of the tests (OpenSearch {}) need Java {} or later and Maven; without them, set \
         TRAILHOUND_SKIP=opensearch, and what needs a node is not tested. Maven is in Debian's \
         package `maven`",
        version.number(),
        version.java(),
    )
}
