//! Where an investigation finds the events: in a lake, or in a cluster.
//!
//! # Input
//! `--lake` and what goes with it, `--opensearch` and what goes with it, their variables.
//! # Maps to
//! One of them. What is said in the command counts before variables, which are set for other commands
//! too; of two variables that of the lake counts.
//! # Known gaps
//! None.
//! # Reference
//! `trailhound help investigate`.

use clap::{
    ArgGroup, ArgMatches, Args, Command, Error, FromArgMatches, error::ErrorKind,
    parser::ValueSource,
};

use crate::{cluster::ClusterArgs, config::LakeArgs};

/// Where the events are.
#[derive(Debug)]
pub enum Place {
    /// In this lake.
    Lake(Box<LakeArgs>),
    /// In the indexes of this cluster.
    Cluster(Box<ClusterArgs>),
}

const LAKE: &str = "lake";
const CLUSTER: &str = "opensearch";

impl Args for Place {
    fn augment_args(command: Command) -> Command {
        let both = ClusterArgs::augment_args(LakeArgs::augment_args(command));
        both.mut_arg(LAKE, |lake| lake.required(false))
            .mut_arg(CLUSTER, |url| {
                url.help(
                    "Ask this OpenSearch cluster instead, such as `https://search.example.com`",
                )
            })
            .group(ArgGroup::new("place").args([LAKE, CLUSTER]).required(true).multiple(true))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Place {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        // An empty variable says nothing.
        let is_given = |name| {
            let raw = matches.get_raw(name).and_then(|mut values| values.next());
            raw.is_some_and(|value| !value.is_empty())
        };
        let is_said = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        let takes_cluster = match (is_said(LAKE), is_said(CLUSTER)) {
            (true, true) => {
                let what = "the argument '--lake <PLACE>' cannot be used with '--opensearch <URL>'";
                return Err(Error::raw(ErrorKind::ArgumentConflict, what));
            }
            (lake, cluster) if lake != cluster => cluster,
            _ => !is_given(LAKE),
        };
        if takes_cluster {
            ClusterArgs::from_arg_matches(matches).map(Box::new).map(Self::Cluster)
        } else {
            LakeArgs::from_arg_matches(matches).map(Box::new).map(Self::Lake)
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Asks {
        #[command(flatten)]
        place: Place,
    }

    fn place(arguments: &[&str]) -> Result<String, ErrorKind> {
        let asks = Asks::try_parse_from(["ask"].iter().chain(arguments));
        asks.map_err(|error| error.kind()).map(|asks| match asks.place {
            Place::Lake(lake) => lake.lake.to_string(),
            Place::Cluster(cluster) => cluster.opensearch.unwrap_or_default(),
        })
    }

    #[test]
    fn events_are_in_one_place() {
        assert_eq!(place(&["--lake", "l"]).as_deref(), Ok("l"));
        assert_eq!(place(&["--opensearch", "http://o"]).as_deref(), Ok("http://o"));
        let both = place(&["--lake", "l", "--opensearch", "http://o"]);
        assert_eq!(both, Err(ErrorKind::ArgumentConflict));
        assert_eq!(place(&[]), Err(ErrorKind::MissingRequiredArgument));
    }
}
