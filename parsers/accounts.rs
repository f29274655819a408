//! Names and labels of accounts, which logs do not have.
//!
//! # Input
//! What somebody knows of accounts, by their ids.
//! # Maps to
//! `cloud.account.name` and `metadata.labels`. A pure look-up.
//! # Known gaps
//! None.
//! # Reference
//! Mapping 1.5, table C1.

use std::{collections::HashMap, sync::Arc};

use bumpalo::Bump;

use crate::ObjectKey;

/// What is known of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountInfo {
    /// Its name.
    pub name: String,
    /// `column:value`, in the order of columns.
    pub labels: Vec<String>,
}

/// Accounts by their ids.
#[derive(Debug, Default)]
pub struct Accounts(HashMap<String, AccountInfo>);

impl Accounts {
    /// Accounts by their ids.
    pub fn new(accounts: HashMap<String, AccountInfo>) -> Self {
        Self(accounts)
    }

    /// True if nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is known of an account.
    pub fn get(&self, uid: &str) -> Option<&AccountInfo> {
        self.0.get(uid)
    }

    /// The name of an account.
    pub(crate) fn name(&self, uid: Option<&str>) -> Option<&str> {
        Some(self.get(uid?)?.name.as_str()).filter(|name| !name.is_empty())
    }

    /// The labels of an account.
    pub(crate) fn labels<'a>(
        &'a self,
        uid: Option<&str>,
        arena: &'a Bump,
    ) -> &'a [Option<&'a str>] {
        let info = uid.and_then(|uid| self.get(uid)).filter(|info| !info.labels.is_empty());
        info.map_or(&[], |info| {
            arena.alloc_slice_fill_iter(info.labels.iter().map(|label| Some(label.as_str())))
        })
    }
}

/// What is known of an object's records before they are read.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The object's key.
    pub key: ObjectKey,
    /// Names of accounts.
    pub accounts: Arc<Accounts>,
    /// Number of the first record: not 0 where a record is decoded apart from its object.
    pub first_record: u64,
}

impl From<ObjectKey> for Origin {
    /// Without names of accounts.
    fn from(key: ObjectKey) -> Self {
        Self { key, accounts: Arc::default(), first_record: 0 }
    }
}
