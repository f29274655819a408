//! Which places a load reads, and that none of them is the lake itself.
//!
//! # Input
//! Paths, the lake, the state folder.
//! # Maps to
//! Archives, each once; or what is wrong with the places.
//! # Known gaps
//! A lake in another lake's folders is not refused.
//! # Reference
//! Design section 6: state beside the lake, never inside of it.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{Settings, StartError};
use crate::{
    batch::STAGED,
    store::{Folder, Place, Sources},
};

/// The archives without those that lie in another one: they are listed with that one, once. Refuses
/// a lake or state folder that would be read as an archive.
pub(crate) async fn archives(
    settings: &Settings,
    sources: &Sources,
) -> Result<Vec<Place>, StartError> {
    let mut archives: Vec<Place> = Vec::new();
    for place in &settings.paths {
        let (full, inside) = match place {
            Place::Local(path) => {
                let on_error = |source| StartError::Path { path: path.clone(), source };
                let full = std::fs::canonicalize(path).map_err(on_error)?;
                let mut inside = None;
                for place in [&settings.lake, &settings.state] {
                    let Place::Local(place) = place else { continue };
                    let place = canonical(place).map_err(on_error)?;
                    if full.is_dir() && place.starts_with(&full) {
                        inside = Some(place.display().to_string());
                    }
                }
                (Place::Local(full), inside)
            }
            Place::S3 { bucket, .. } => {
                sources.bucket(bucket).await?;
                let mut places = [&settings.lake, &settings.state].into_iter();
                let inside = places.find(|other| place.holds(other)).map(ToString::to_string);
                (place.clone(), inside)
            }
        };
        if let Some(lake) = inside {
            return Err(StartError::Inside { lake, path: full.to_string() });
        }
        let holds = |one: &Place, other: &Place| match (one, other) {
            (Place::Local(one), Place::Local(other)) => other.starts_with(one),
            _ => one.holds(other),
        };
        if !archives.iter().any(|other| holds(other, &full)) {
            archives.retain(|other| !holds(&full, other));
            archives.push(full);
        }
    }
    Ok(archives)
}

/// Refuses a state folder that is not where the lake is, or that is among the lake's files.
pub(crate) fn check_state(lake: &Place, state: &Place) -> Result<(), StartError> {
    let files = lake.join("ext");
    let inside = match (&files, state) {
        (Place::Local(files), Place::Local(state)) => match (canonical(files), canonical(state)) {
            (Ok(files), Ok(state)) => state.starts_with(files),
            _ => false,
        },
        (Place::S3 { .. }, Place::S3 { .. }) => files.holds(state),
        _ => return Err(StartError::Mixed { lake: lake.clone(), state: state.clone() }),
    };
    if inside {
        let (state, lake) = (state.to_string(), files.to_string());
        return Err(StartError::StateInside { state, lake });
    }
    Ok(())
}

/// Refuses a state folder that nothing was ever written to: most likely its name is wrong.
pub(crate) async fn check_used(
    lake: &Place,
    place: &Place,
    state: &Folder,
) -> Result<(), StartError> {
    for part in ["ledger/v1", "published/v1", STAGED] {
        if !state.folders(part).await?.is_empty() || !state.list(part, None).await?.is_empty() {
            return Ok(());
        }
    }
    Err(StartError::Unused { lake: lake.clone(), state: place.clone() })
}

/// The place without links, also if there is nothing yet.
fn canonical(place: &Path) -> io::Result<PathBuf> {
    let place = std::path::absolute(place)?;
    for parent in place.ancestors() {
        if let Ok(known) = std::fs::canonicalize(parent) {
            return Ok(known.join(place.strip_prefix(parent).unwrap_or(Path::new(""))));
        }
    }
    Ok(place)
}
