//! Grants, and the permit that follows from them for one call.

use std::collections::BTreeSet;

use super::{Principal, Principals, Purpose, Rpc, RpcKeys};

/// Maximum length of a comment, label or train id, in characters.
const LONGEST: usize = 256;

/// The keys of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// Every key of the purposes.
    All,
    /// The keys with these labels.
    Labels(BTreeSet<String>),
}

/// What one principal is allowed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    principal: Principal,
    rpcs: BTreeSet<Rpc>,
    keys: Option<Keys>,
    purposes: Option<BTreeSet<Purpose>>,
    trains: Option<BTreeSet<String>>,
    comment: Option<String>,
}

/// Why a grant is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// No RPC is named.
    #[error("it grants no RPC")]
    NoRpc,
    /// The RPC is unknown.
    #[error("there is no RPC {0:?}")]
    UnknownRpc(String),
    /// The purpose is unknown.
    #[error("there is no purpose {0:?}; the purposes are train and general")]
    UnknownPurpose(String),
    /// The principal is invalid.
    #[error(transparent)]
    Principal(#[from] crate::authz::PrincipalError),
    /// RPCs that name keys are granted, but no keys.
    #[error("{0} uses keys: name them with keys = [\"label\"], or all with keys = [\"*\"]")]
    NoKeys(&'static str),
    /// Keys or trains are named, but no granted RPC uses any.
    #[error("{0} are named, but no RPC of this grant uses any")]
    Useless(&'static str),
    /// A list is empty, which could be understood as all or as none.
    #[error("{0} must not be empty; omit it if it is not needed")]
    Empty(&'static str),
    /// A text is too long, or contains control characters.
    #[error("{0} must be 1 to {LONGEST} printable characters")]
    Text(&'static str),
}

/// A grant as it is written in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantSpec<'a> {
    /// [`Principal`].
    pub principal: &'a str,
    /// Names of RPCs.
    pub rpcs: &'a [String],
    /// Labels of keys; `*` is all.
    pub keys: Option<&'a [String]>,
    /// `train`, `general`.
    pub purposes: Option<&'a [String]>,
    /// Ids of trains (`@id`).
    pub trains: Option<&'a [String]>,
    /// A note for people.
    pub comment: Option<&'a str>,
}

impl Grant {
    /// Parses a grant.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn new(stated: &GrantSpec<'_>) -> Result<Self, GrantError> {
        let rpc = |name: &String| Rpc::from_name(name).ok_or_else(|| GrantError::UnknownRpc(name.clone()));
        let rpcs = stated.rpcs.iter().map(rpc).collect::<Result<BTreeSet<_>, _>>()?;
        if rpcs.is_empty() {
            return Err(GrantError::NoRpc);
        }
        let keys = stated.keys.map(|labels| names("keys", labels)).transpose()?;
        let keys = keys.map(|labels| if labels.contains("*") { Keys::All } else { Keys::Labels(labels) });
        let needs_keys = rpcs.iter().find(|rpc| matches!(rpc.keys(), RpcKeys::Named | RpcKeys::Shown));
        if let (None, Some(rpc)) = (&keys, needs_keys) {
            return Err(GrantError::NoKeys(rpc.name()));
        }
        let purpose = |name: &String| match name.as_str() {
            "train" => Ok(Purpose::Train),
            "general" => Ok(Purpose::General),
            _ => Err(GrantError::UnknownPurpose(name.clone())),
        };
        let purposes = stated.purposes.map(|names| names.iter().map(purpose).collect::<Result<BTreeSet<_>, _>>()).transpose()?;
        if purposes.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(GrantError::Empty("purposes"));
        }
        if (keys.is_some() || purposes.is_some()) && rpcs.iter().all(|rpc| rpc.keys() == RpcKeys::None) {
            return Err(GrantError::Useless("keys"));
        }
        let trains = stated.trains.map(|ids| names("trains", ids)).transpose()?;
        if trains.is_some() && !rpcs.iter().any(|rpc| rpc.is_of_trains()) {
            return Err(GrantError::Useless("trains"));
        }
        let comment = stated.comment.map(|comment| text("comment", comment)).transpose()?;
        Ok(Self { principal: stated.principal.parse()?, rpcs, keys, purposes, trains, comment })
    }

    /// Returns the principal.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Returns the RPCs.
    pub fn rpcs(&self) -> impl Iterator<Item = Rpc> {
        self.rpcs.iter().copied()
    }

    /// Returns the labels of keys; `*` is all of the purposes. `None` when no key is named.
    #[must_use]
    pub fn keys(&self) -> Option<Vec<String>> {
        self.keys.as_ref().map(|keys| match keys {
            Keys::All => vec!["*".to_owned()],
            Keys::Labels(labels) => labels.iter().cloned().collect(),
        })
    }

    /// Returns the purposes, if they are named.
    #[must_use]
    pub fn purposes(&self) -> Option<Vec<String>> {
        self.purposes.as_ref().map(|purposes| purposes.iter().map(|purpose| purpose.name().to_owned()).collect())
    }

    /// Returns the trains, if they are named.
    #[must_use]
    pub fn trains(&self) -> Option<Vec<String>> {
        self.trains.as_ref().map(|trains| trains.iter().cloned().collect())
    }

    /// Returns the note for people.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// Removes RPCs; returns `None` when none is left.
    fn without(mut self, rpcs: &[Rpc]) -> Option<Self> {
        self.rpcs.retain(|rpc| !rpcs.contains(rpc));
        (!self.rpcs.is_empty()).then_some(self)
    }
}

fn text(what: &'static str, text: &str) -> Result<String, GrantError> {
    let plain = !text.is_empty() && text.chars().count() <= LONGEST && !text.chars().any(char::is_control);
    if plain { Ok(text.to_owned()) } else { Err(GrantError::Text(what)) }
}

fn names(what: &'static str, all: &[String]) -> Result<BTreeSet<String>, GrantError> {
    if all.is_empty() {
        return Err(GrantError::Empty(what));
    }
    all.iter().map(|name| text(what, name)).collect()
}

/// All grants of an access file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// Returns all grants, in the file's order.
    #[must_use]
    pub fn all(&self) -> &[Grant] {
        &self.0
    }

    /// Adds a grant.
    pub fn add(&mut self, grant: Grant) {
        if !self.0.contains(&grant) {
            self.0.push(grant);
        }
    }

    /// Removes RPCs (all, when none is named) from a principal; returns how many grants that changed.
    pub fn revoke(&mut self, principal: &Principal, rpcs: &[Rpc]) -> usize {
        let mut changed = 0;
        let before = std::mem::take(&mut self.0);
        for grant in before {
            if grant.principal != *principal {
                self.0.push(grant);
                continue;
            }
            let left = if rpcs.is_empty() { None } else { grant.clone().without(rpcs) };
            changed += usize::from(left.as_ref() != Some(&grant));
            self.0.extend(left);
        }
        changed
    }

    /// Decides whether a caller with these names may call an RPC, and returns what the call may touch.
    #[must_use]
    pub fn decide(&self, principals: &Principals, rpc: Rpc) -> Option<Permit> {
        let scopes: Vec<Scope> = self
            .0
            .iter()
            .filter(|grant| grant.rpcs.contains(&rpc) && principals.contains(&grant.principal))
            .map(|grant| Scope { keys: grant.keys.clone(), purposes: grant.purposes.clone(), trains: grant.trains.clone() })
            .collect();
        (!scopes.is_empty()).then_some(Permit { rpc, scopes })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    keys: Option<Keys>,
    purposes: Option<BTreeSet<Purpose>>,
    trains: Option<BTreeSet<String>>,
}

/// What one call may touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    rpc: Rpc,
    scopes: Vec<Scope>,
}

impl Permit {
    /// Returns the RPC that it is for.
    #[must_use]
    pub fn rpc(&self) -> Rpc {
        self.rpc
    }

    /// Returns whether it covers a key. Purposes are about use: where a grant names none, raw use covers general keys, and trains cover
    /// train keys.
    #[must_use]
    pub fn covers_key(&self, label: &str, purpose: Purpose) -> bool {
        // No grant covers the service's own TLS key.
        if purpose == Purpose::Tls {
            return false;
        }
        self.scopes.iter().any(|scope| {
            let of_purpose = match (self.rpc.keys(), &scope.purposes) {
                (RpcKeys::None, _) => false,
                // Public halves are shown regardless of the permitted use of the private keys.
                (RpcKeys::Shown, _) => true,
                (_, Some(purposes)) => purposes.contains(&purpose),
                (RpcKeys::Named, None) => purpose == Purpose::General,
                (RpcKeys::Train, None) => purpose == Purpose::Train,
            };
            let named = match &scope.keys {
                None | Some(Keys::All) => true,
                Some(Keys::Labels(labels)) => labels.contains(label),
            };
            of_purpose && named
        })
    }

    /// Returns whether it can cover any key of that label: decides what may be revealed before it is known whether the key exists.
    #[must_use]
    pub fn may_name(&self, label: &str) -> bool {
        [Purpose::Train, Purpose::General, Purpose::Audit].into_iter().any(|purpose| self.covers_key(label, purpose))
    }

    /// Returns the part that applies to one train; `None` when it does not cover that train.
    #[must_use]
    pub fn for_train(&self, id: &str) -> Option<Self> {
        let covers = |scope: &&Scope| scope.trains.as_ref().is_none_or(|trains| trains.contains(id));
        let scopes: Vec<_> = self.scopes.iter().filter(covers).cloned().collect();
        (!scopes.is_empty()).then_some(Self { rpc: self.rpc, scopes })
    }

    /// Returns whether it covers only named trains.
    #[must_use]
    pub fn is_for_named_trains(&self) -> bool {
        self.scopes.iter().all(|scope| scope.trains.is_some())
    }
}

#[cfg(test)]
mod tests;
