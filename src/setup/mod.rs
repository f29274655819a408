//! Makes a cluster ready: templates, aliases, lifecycle, roles. And keeps it so.
//!
//! # Input
//! A cluster, and what of the optional parts is wanted.
//! # Maps to
//! What is installed becomes what this version writes. What somebody changed is left alone, unless
//! it is forced, and then the old body is in a file first.
//! # Known gaps
//! Two set-ups at the same time overwrite each other, with the same.
//! # Reference
//! <https://docs.opensearch.org/latest/im-plugin/index-templates/>. A server without a plugin
//! answers its requests with status 400, "no handler found for uri".

use std::path::{Path, PathBuf};

use opensearch::http::Method;
use parsers::{
    index::{ALIAS_ALL, PREFIX},
    ocsf::{CLASSES, VERSION},
};
use serde_json::{Value, json};

use crate::{
    batch::now_ms,
    cluster::{Cluster, ClusterError, Trouble},
};

mod body;
pub mod expire;
pub mod lifecycle;
pub mod names;
mod report;
pub mod roles;
pub mod templates;

use body::{Body, State, What};
use lifecycle::Days;
pub use report::{Done, Found, Report, Step};
use roles::{Grant, Role};
use templates::Sizes;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Shards and replicas; what is not said here stays as it is installed.
    pub sizes: Sizes,
    /// Policies that delete what is old.
    pub lifecycle: Option<Days>,
    /// Roles, where the cluster has the security plugin.
    pub roles: bool,
    /// Accounts whose owners get a role.
    pub accounts: Vec<String>,
    /// Who gets which role.
    pub grants: Vec<Grant>,
    /// What is done about differences.
    pub mode: Mode,
    /// Where bodies go that are overwritten although somebody changed them.
    pub backup: PathBuf,
}

/// What is done about differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are told, as something that is wrong.
    Check,
    /// They are told, as something that would be done.
    DryRun,
    /// They are removed, except where somebody changed what we wrote.
    Apply,
    /// They are removed.
    Force,
}

/// Why a set-up could not be done.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The cluster did not do it.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// What is about to be overwritten could not be saved.
    #[error("cannot save what is installed to {}: {error}; nothing was overwritten", path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// True if the index template of every class is there. Who may not read templates is told so too:
/// the loader's role may be narrower than ours, and an index is still made by its template.
pub async fn installed(cluster: &Cluster) -> Result<bool, ClusterError> {
    let path = format!("/_index_template/{PREFIX}-{VERSION}-*?filter_path=index_templates.name");
    let reply = cluster.call(Method::Get, &path, None).await?;
    match reply.status {
        200 => {
            let json = reply.json();
            let found = json["index_templates"].as_array();
            let is_there = |name: String| {
                found.into_iter().flatten().any(|template| template["name"] == name.as_str())
            };
            Ok(CLASSES.iter().all(|class| is_there(templates::template_name(class))))
        }
        404 => Ok(false),
        403 => Ok(true),
        _ => Err(cluster.error("tell which templates it has", &reply)),
    }
}

/// What tells the cluster from others, if it is one that is set up.
pub async fn ready(cluster: &Cluster) -> Result<String, ClusterError> {
    let identity = cluster.identity().await?;
    if installed(cluster).await? {
        return Ok(identity);
    }
    // Without templates the server guesses what fields are, and refuses what it has guessed wrong.
    let what = format!(
        "OpenSearch at {0} is not set up: run `trailhound setup opensearch --opensearch {0}` first",
        cluster.url()
    );
    Err(ClusterError { trouble: Trouble::Refused, what })
}

/// Makes the cluster ready, or tells what is missing.
pub async fn setup(cluster: &Cluster, settings: &Settings) -> Result<Report, SetupError> {
    let mut setup = Setup { cluster, settings, report: Report::new(cluster.url(), settings.mode) };
    let sizes = setup.sizes().await?;
    for body in templates::templates(&sizes) {
        setup.step(&body).await?;
    }
    setup.aliases().await?;
    setup.mappings().await?;
    setup.lifecycle().await?;
    setup.roles().await?;
    Ok(setup.report)
}

struct Setup<'s> {
    cluster: &'s Cluster,
    settings: &'s Settings,
    report: Report,
}

/// What the server says to a request for a body.
enum Installed {
    /// This, and for a policy its version.
    There(Body, String),
    Missing,
    /// The plugin that holds it is not installed.
    NoPlugin,
    /// We may not see it.
    Denied(ClusterError),
}

impl Setup<'_> {
    /// Shards and replicas as somebody may have chosen them earlier, where nothing else is said:
    /// a set-up without flags must not make tomorrow's index of fifty shards one of one.
    async fn sizes(&self) -> Result<Sizes, SetupError> {
        let mut sizes =
            Sizes { serverless: self.cluster.is_serverless(), ..self.settings.sizes.clone() };
        if sizes.serverless {
            return Ok(sizes);
        }
        let number = |body: &Body, name: &str| {
            body.value["template"]["settings"]["index"][name].as_str()?.parse().ok()
        };
        if sizes.replicas.is_none()
            && let Installed::There(body, _) =
                self.fetch(What::Component, templates::SETTINGS).await?
        {
            sizes.replicas = number(&body, "number_of_replicas");
        }
        for class in
            CLASSES.iter().filter(|class| !self.settings.sizes.shards.contains_key(class.name))
        {
            let name = templates::template_name(class);
            if let Installed::There(body, _) = self.fetch(What::IndexTemplate, &name).await?
                && let Some(shards) = number(&body, "number_of_shards")
            {
                sizes.shards.insert(class.name.to_owned(), shards);
            }
        }
        Ok(sizes)
    }

    async fn fetch(&self, what: What, name: &str) -> Result<Installed, SetupError> {
        let reply = self.cluster.call(Method::Get, &what.path(name), None).await?;
        let doing = || format!("tell its {} {name}", what.title());
        Ok(match reply.status {
            200 => {
                let answer = reply.json();
                let version = match (answer["_seq_no"].as_u64(), answer["_primary_term"].as_u64()) {
                    (Some(seq_no), Some(term)) => {
                        format!("?if_seq_no={seq_no}&if_primary_term={term}")
                    }
                    _ => String::new(),
                };
                Installed::There(Body::of_answer(what, name, &answer), version)
            }
            404 => Installed::Missing,
            400 if reply.reason().contains("no handler found") => Installed::NoPlugin,
            401 | 403 => Installed::Denied(self.cluster.error(&doing(), &reply)),
            _ => return Err(self.cluster.error(&doing(), &reply).into()),
        })
    }

    /// One body: is it there, is it ours, and what is done about it. False if there is no place for
    /// such a body.
    async fn step(&mut self, body: &Body) -> Result<bool, SetupError> {
        let (found, installed, version) = match self.fetch(body.what, &body.name).await? {
            Installed::Missing => (Found::Missing, None, String::new()),
            Installed::There(installed, version) => {
                let found = match body.compare(&installed) {
                    State::Same => Found::Same,
                    State::Older => Found::Older,
                    State::Changed => Found::Changed,
                };
                (found, Some(installed), version)
            }
            Installed::Denied(error) => return Err(error.into()),
            Installed::NoPlugin => return Ok(false),
        };
        let mut step = Step::new(body.what.title(), &body.name, found);
        step.differences =
            installed.as_ref().map(|installed| body.differences(installed)).unwrap_or_default();
        step.done = self.decide(found);
        if step.done == Done::Written {
            if let (Found::Changed, Some(installed)) = (found, &installed) {
                step.backup = Some(save(&self.settings.backup, installed)?);
            }
            let value =
                installed.as_ref().map_or_else(|| body.value.clone(), |there| body.over(there));
            let path = body.what.path(&body.name) + &version;
            self.put(
                Method::Put,
                &path,
                &value,
                &format!("take its {} {}", body.what.title(), body.name),
            )
            .await?;
        }
        self.report.steps.push(step);
        Ok(true)
    }

    fn decide(&self, found: Found) -> Done {
        match (found, self.settings.mode) {
            (Found::Same, _) => Done::Nothing,
            (_, Mode::Check) => Done::Told,
            (Found::Changed, Mode::DryRun | Mode::Apply) => Done::Refused,
            (_, Mode::DryRun) => Done::Planned,
            (_, Mode::Apply | Mode::Force) => Done::Written,
        }
    }

    async fn put(
        &self,
        method: Method,
        path: &str,
        value: &Value,
        doing: &str,
    ) -> Result<(), SetupError> {
        let reply = self.cluster.call(method, path, Some(value)).await?;
        match reply.status {
            200..=299 => Ok(()),
            _ => Err(self.cluster.error(doing, &reply).into()),
        }
    }

    /// Templates give aliases to new indexes; those from before the templates get them here.
    async fn aliases(&mut self) -> Result<(), SetupError> {
        let path = format!("/{PREFIX}-{VERSION}-*/_alias");
        let reply = self.cluster.call(Method::Get, &path, None).await?;
        let answer = match reply.status {
            200 => reply.json(),
            404 => json!({}),
            _ => return Err(self.cluster.error("tell its aliases", &reply).into()),
        };
        let mut missing = Vec::new();
        for (index, entry) in answer.as_object().into_iter().flatten() {
            let Some(name) = names::parse(index) else { continue };
            let aliases = [name.class.alias(), ALIAS_ALL.to_owned()];
            let absent = aliases.into_iter().filter(|alias| entry["aliases"][alias].is_null());
            missing.extend(absent.map(|alias| (index.clone(), alias)));
        }
        let found = if missing.is_empty() { Found::Same } else { Found::Missing };
        let mut step = Step::new("aliases", "of the indexes that are there", found);
        step.differences =
            missing.iter().map(|(index, alias)| format!("{alias} of {index}")).collect();
        step.done = self.decide(found);
        if step.done == Done::Written {
            let add = |(index, alias): &(String, String)| json!({ "add": { "index": index, "alias": alias } });
            let actions = json!({ "actions": missing.iter().map(add).collect::<Vec<_>>() });
            self.put(Method::Post, "/_aliases", &actions, "add aliases").await?;
        }
        self.report.steps.push(step);
        Ok(())
    }

    /// An index that was made without our template, as by events that came before it, has guessed its
    /// fields and keeps to that: no template puts it right, and it refuses events. A field that an index
    /// of an earlier version does not have costs nothing.
    async fn mappings(&mut self) -> Result<(), SetupError> {
        const MAX_TOLD: usize = 3;
        let path = format!("/{PREFIX}-{VERSION}-*/_mapping");
        let reply = self.cluster.call(Method::Get, &path, None).await?;
        let answer = match reply.status {
            200 => reply.json(),
            404 => json!({}),
            _ => return Err(self.cluster.error("tell its mappings", &reply).into()),
        };
        for (index, entry) in answer.as_object().into_iter().flatten() {
            let Some(name) = names::parse(index) else { continue };
            let wrong = body::conflicts(&templates::mappings(name.class), &entry["mappings"]);
            if wrong.is_empty() {
                continue;
            }
            let first = wrong[..wrong.len().min(MAX_TOLD)].join("; ");
            self.report.fail(format!(
                "index {index} does not have the mapping of its template, and may refuse events ({} \
                 differences: {first}): copy it into a new one, or delete it and run `trailhound load \
                 --only opensearch --force`",
                wrong.len()
            ));
        }
        Ok(())
    }

    async fn lifecycle(&mut self) -> Result<(), SetupError> {
        let Some(days) = &self.settings.lifecycle else { return Ok(()) };
        let help = "old indexes stay until `trailhound expire` deletes them";
        if self.cluster.is_serverless() {
            self.report.warn(format!("collections have no lifecycle policies: {help}"));
            return Ok(());
        }
        for policy in lifecycle::policies(days) {
            if !self.step(&policy).await? {
                self.report.warn(format!(
                    "this cluster has no Index State Management, so there is no lifecycle: {help}"
                ));
                break;
            }
        }
        Ok(())
    }

    async fn roles(&mut self) -> Result<(), SetupError> {
        if !self.settings.roles {
            return Ok(());
        }
        let asked = !self.settings.accounts.is_empty() || !self.settings.grants.is_empty();
        if self.cluster.is_serverless() {
            if asked {
                self.report.warn(
                    "collections have no roles: give access by data access policies of AWS".into(),
                );
            }
            return Ok(());
        }
        let probe = self.fetch(What::Role, &Role::Writer.name()).await?;
        match probe {
            Installed::NoPlugin => {
                if asked {
                    self.report.warn("this cluster has no security plugin, so no roles".into());
                }
                return Ok(());
            }
            Installed::Denied(error) => {
                let what = format!("no roles: they need an administrator, or --no-roles: {error}");
                // Domains of Amazon without fine-grained access control refuse it like this.
                if asked {
                    self.report.fail(what);
                } else {
                    self.report.warn(what);
                }
                return Ok(());
            }
            Installed::There(..) | Installed::Missing => {}
        }
        let mut roles = vec![Role::Writer, Role::Reader];
        let accounts = self.settings.accounts.iter().cloned().map(Role::Account);
        roles.extend(accounts.chain(self.settings.grants.iter().map(|grant| grant.role.clone())));
        let mut done = Vec::new();
        for role in roles {
            if !done.contains(&role) {
                self.step(&role.body()).await?;
                self.grant(&role).await?;
                done.push(role);
            }
        }
        Ok(())
    }

    /// Maps who is to have a role. What is mapped already stays.
    async fn grant(&mut self, role: &Role) -> Result<(), SetupError> {
        let grants = &self.settings.grants;
        if !grants.iter().any(|grant| grant.role == *role) {
            return Ok(());
        }
        let path = roles::mapping_path(role);
        let reply = self.cluster.call(Method::Get, &path, None).await?;
        let installed = match reply.status {
            200 => reply.json()[role.name()].clone(),
            404 => json!({}),
            _ => return Err(self.cluster.error("tell who has which role", &reply).into()),
        };
        let mapping = roles::mapping(role, grants, &installed);
        let found = if mapping.is_none() { Found::Same } else { Found::Missing };
        let mut step = Step::new("role mapping", &role.name(), found);
        let who = grants.iter().filter(|grant| grant.role == *role).map(|grant| grant.who.clone());
        step.differences = if found == Found::Same { Vec::new() } else { who.collect() };
        step.done = self.decide(found);
        if let (Done::Written, Some(mapping)) = (step.done, mapping) {
            self.put(Method::Put, &path, &mapping, "map users to roles").await?;
        }
        self.report.steps.push(step);
        Ok(())
    }
}

/// Writes a body that is about to be overwritten into a file of its own.
fn save(folder: &Path, body: &Body) -> Result<PathBuf, SetupError> {
    let seconds = now_ms() / 1000;
    let what = body.what.title().replace(' ', "-");
    let path = folder.join(format!("trailhound-backup-{what}-{}-{seconds}.json", body.name));
    let write = || {
        std::fs::create_dir_all(folder)?;
        let mut file = std::fs::File::create_new(&path)?;
        std::io::Write::write_all(&mut file, body::pretty(&body.value).as_bytes())?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(path),
        Err(error) => Err(SetupError::Backup { path, error }),
    }
}
