//! The rules a train is held to, by name, and the report of what became of each (`docs/weaknesses.md` says which weakness each
//! of them closes).

/// How firmly a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// Always on: without it the steps could not do their work.
    Always,
    /// On, unless a station's configuration relaxes it by name.
    Strict,
    /// Off, unless a station's configuration asks for it by name: honest trains or stations may break it.
    Optional,
    /// Nothing on this wire could show it, for this reason. Reported, so that nobody takes silence for a check.
    NotCheckable(&'static str),
}

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $standing:expr;)*) => {
        /// A rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule { $($(#[doc = $doc])+ $variant,)* }

        impl Rule {
            /// Every rule, in the order of reports.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name: in configurations, reports, refusals and logs.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it says.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)* }
            }

            /// How firmly it stands.
            #[must_use]
            pub fn standing(self) -> Enforcement {
                match self { $(Self::$variant => $standing,)* }
            }
        }
    };
}

use Enforcement::{Always, NotCheckable, Optional, Strict};

rules! {
    /// The train config is one JSON document of the known shape, without duplicate keys.
    StrictConfig = "strict-config", Always;
    /// The session id is 64 bytes long, so that no byte can move between it and a file.
    SessionIdLength = "session-id-length", Strict;
    /// The creator's id and key are in the trust store.
    CreatorPinned = "creator-pinned", Strict;
    /// Every station on the route is in the trust store, with the key that the route gives it.
    StationsPinned = "stations-pinned", Strict;
    /// Our own entry on the route names one of our usable train keys.
    OwnRouteKey = "own-route-key", Always;
    /// The route's indices are 0 to n-1, and exactly the stops before this one have signed.
    RouteShape = "route-shape", Always;
    /// Whether this is the first stop is decided by our index, never by what the train says of its results.
    FirstByIndex = "first-by-index", Always;
    /// The creator signed the stated digest of the immutable files.
    CreatorSignature = "creator-signature", Always;
    /// The builder signed that digest together with the creator's signature.
    BuilderSignature = "builder-signature", Always;
    /// The immutable files and the query, opened, hash to the stated digest.
    ImmutableDigest = "immutable-digest", Always;
    /// Every file that `file_list` names is there.
    ListedFilesPresent = "listed-files-present", Always;
    /// Immutable files that `file_list` does not name are neither opened nor taken along.
    UnlistedFiles = "unlisted-files", Strict;
    /// The train's two directories are there.
    BothDirectories = "both-directories-present", Always;
    /// Names are plain relative paths in UTF-8, without control characters or layer marks.
    PlainNames = "plain-names", Always;
    /// Names are there once, in the engine's order.
    UniqueNames = "unique-ordered-names", Always;
    /// Nothing but regular files and directories is in the train's directories: no link, no device, no pipe.
    NoLinks = "no-links-or-special-files", Always;
    /// No volume of the image's own lies over the train's directories: it would hide what was verified from the run, or its results
    /// from us.
    NoVolumes = "no-volumes-over-the-train", Always;
    /// Nothing but the train's own four entries, what its base holds too, and what the configuration allows is in /opt.
    OptAllowList = "opt-allow-list", Strict;
    /// Every stop before this one signed the chain digest it states.
    ChainSignatures = "chain-signatures", Always;
    /// The newest chain digest follows from the earlier ones and the stated results digest.
    NewestLink = "newest-link", Always;
    /// No chain entry is a results signature, or another stop's chain entry, in its place.
    SignaturesApart = "signatures-apart", Strict;
    /// The previous stop signed the stated digest of the results.
    ResultsSignature = "results-signature", Always;
    /// The results, opened, hash to the stated digest.
    ResultsDigest = "results-digest", Always;
    /// Sealed files have the length that sealed files have: a file of another length is plaintext or broken.
    SealedLengths = "sealed-lengths", Always;
    /// The wrapped key beside the train's config is the one that the config states for the creator.
    UserKey = "user-key", Always;
    /// The keys on the route, and the creator's, can be used to wrap for: found out before the run, not after it.
    RouteKeysUsable = "route-keys-usable", Always;
    /// The new envelope key is wrapped for trusted keys only.
    WrapForTrusted = "wrap-for-trusted", Strict;
    /// The train's image is a master image that this station allows, with nothing but the train in it.
    MasterImage = "master-image", Optional;
    /// Stations that the train has passed are not given the new envelope key.
    PastStopsExcluded = "past-stops-excluded", Optional;
    /// After the run the config of pre-run is used, whatever the image holds then.
    ConfigOfPreRun = "config-of-pre-run", Always;
    /// After the run every immutable file is, byte for byte, what it was before.
    ImmutableUnchanged = "immutable-files-unchanged", Always;
    /// The directory with an opened train does not change while it is read.
    AtRestWhileRead = "at-rest-while-read", Always;
    /// The image after the run descends from what was opened for it.
    ImageOfThisRun = "image-of-this-run", Always;
    /// No layer of the image to be pushed holds plaintext of the train.
    NoPlaintextLayers = "no-plaintext-layers", Strict;

    /// The builder is one whom this station knows.
    BuilderIdentity = "builder-identity", NotCheckable(
        "each build has a key of its own, named by the train itself: its signature proves only that the holder of that key \
         saw the creator's signature over these files");
    /// File names are those that the creator meant.
    FileNamesSigned = "file-names-signed", NotCheckable("names are not hashed on this wire, only contents in the order of file_list");
    /// File contents begin and end where the creator meant them to.
    FileBoundaries = "file-boundaries", NotCheckable("contents are hashed one after the other, without their lengths");
    /// Chain digests before the newest follow from the results of their stops.
    OlderLinks = "older-links", NotCheckable("the results digests of earlier stops are not kept on this wire");
    /// Train id, proposal, source and route are those that the creator meant.
    UnsignedFields = "unsigned-fields", NotCheckable("nothing signs them on this wire");
    /// Sealed files cannot be changed without their key.
    AuthenticatedEncryption = "authenticated-encryption", NotCheckable(
        "this wire encrypts without a MAC: changes are found by digest, at a stop, and not before");
    /// No other station has run this state of the train before.
    ReplayElsewhere = "replay-elsewhere", NotCheckable("only this station's own ledger is known here");
}

impl Rule {
    /// The rule of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.name() == name)
    }
}

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was checked, and holds.
    Checked,
    /// It was not held against the train: this station's configuration does not ask for it.
    Relaxed,
    /// It could not be checked, at this place or at all on this wire.
    NotCheckable,
    /// It was checked, and does not hold. Steps refuse such a train; only a verification reports it.
    Broken,
}

impl Outcome {
    /// Its name, as the ledger and the commands write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Checked => "checked",
            Self::Relaxed => "relaxed",
            Self::NotCheckable => "not-checkable",
            Self::Broken => "broken",
        }
    }

    /// The outcome of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Checked, Self::Relaxed, Self::NotCheckable, Self::Broken].into_iter().find(|outcome| outcome.name() == name)
    }
}

/// One rule's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// What became of it.
    pub outcome: Outcome,
    /// What a reader should know; may be empty. Never plaintext, never a key.
    pub note: String,
}

/// What became of every rule that concerns a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report(Vec<Finding>);

impl Report {
    /// Notes an outcome. A rule that was noted before keeps the worse of the two: broken, relaxed, not checkable, checked.
    pub fn note(&mut self, rule: Rule, outcome: Outcome, note: impl Into<String>) {
        fn rank(outcome: Outcome) -> u8 {
            match outcome {
                Outcome::Checked => 0,
                Outcome::NotCheckable => 1,
                Outcome::Relaxed => 2,
                Outcome::Broken => 3,
            }
        }
        let finding = Finding { rule, outcome, note: note.into() };
        match self.0.iter_mut().find(|known| known.rule == rule) {
            Some(known) if rank(known.outcome) >= rank(outcome) => {}
            Some(known) => *known = finding,
            None => self.0.push(finding),
        }
    }

    /// Adds a note to a rule whose outcome was noted; the outcome stays.
    pub fn explain(&mut self, rule: Rule, note: impl Into<String>) {
        if let Some(known) = self.0.iter_mut().find(|known| known.rule == rule) {
            known.note = note.into();
        }
    }

    /// Notes that rules were checked and hold.
    pub fn checked(&mut self, rules: &[Rule]) {
        for rule in rules {
            self.note(*rule, Outcome::Checked, "");
        }
    }

    /// Adds what nothing on this wire could show.
    pub fn with_not_checkable(mut self) -> Self {
        for rule in Rule::ALL {
            if let NotCheckable(why) = rule.standing() {
                self.note(*rule, Outcome::NotCheckable, why);
            }
        }
        self
    }

    /// Whether no rule is broken.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.0.iter().any(|finding| finding.outcome == Outcome::Broken)
    }

    /// The findings, in the order of [`Rule::ALL`].
    #[must_use]
    pub fn findings(&self) -> Vec<&Finding> {
        let mut findings: Vec<_> = self.0.iter().collect();
        findings.sort_by_key(|finding| finding.rule);
        findings
    }
}

/// Which rules a station holds trains to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    switched: Vec<Rule>,
}

impl RuleSet {
    /// The default, with these rules relaxed and these demanded. A rule that may not be switched that way is answered back.
    ///
    /// # Errors
    /// The first rule that is always on, not checkable, or already what is asked for.
    pub fn new(relaxed: &[Rule], demanded: &[Rule]) -> Result<Self, Rule> {
        let mut switched = Vec::new();
        for (rules, standing) in [(relaxed, Strict), (demanded, Optional)] {
            for rule in rules {
                if rule.standing() != standing {
                    return Err(*rule);
                }
                switched.push(*rule);
            }
        }
        Ok(Self { switched })
    }

    /// Whether a rule is held against trains.
    #[must_use]
    pub fn holds(&self, rule: Rule) -> bool {
        match rule.standing() {
            Always => true,
            Strict => !self.switched.contains(&rule),
            Optional => self.switched.contains(&rule),
            NotCheckable(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_found_by_its_name_and_has_a_text() {
        for rule in Rule::ALL {
            assert_eq!(Rule::from_name(rule.name()), Some(*rule));
            assert!(rule.text().ends_with('.'), "{}", rule.name());
        }
        assert_eq!(Rule::from_name("no-such-rule"), None);
    }

    #[test]
    fn only_what_may_be_switched_can_be() {
        assert!(RuleSet::default().holds(Rule::CreatorPinned) && !RuleSet::default().holds(Rule::PastStopsExcluded));
        let set = RuleSet::new(&[Rule::CreatorPinned], &[Rule::PastStopsExcluded]).unwrap();
        assert!(!set.holds(Rule::CreatorPinned) && set.holds(Rule::PastStopsExcluded));
        assert_eq!(RuleSet::new(&[Rule::NewestLink], &[]), Err(Rule::NewestLink));
        assert_eq!(RuleSet::new(&[], &[Rule::OlderLinks]), Err(Rule::OlderLinks));
    }

    #[test]
    fn a_report_keeps_the_worse_outcome_and_the_order() {
        let mut report = Report::default();
        report.checked(&[Rule::ResultsDigest, Rule::StrictConfig]);
        report.note(Rule::ResultsDigest, Outcome::Broken, "changed");
        report.note(Rule::ResultsDigest, Outcome::Checked, "");
        let report = report.with_not_checkable();
        let findings = report.findings();
        assert_eq!((findings[0].rule, findings[1].outcome), (Rule::StrictConfig, Outcome::Broken));
        assert_eq!(findings.last().unwrap().rule, Rule::ReplayElsewhere);
    }
}
