//! Table of all RPCs, with the keys and trains they touch. An RPC of the proto without a row here does not compile.

macro_rules! rpcs {
    ($($variant:ident: $service:literal / $name:literal, $key:ident, $train:literal, [$($role:ident),*];)*) => {
        /// An RPC of `stationmaster.v1`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rpc { $(#[doc = concat!("`", $service, ".", $name, "`.")] $variant,)* }

        impl Rpc {
            /// All RPCs, in the order of the protos.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            const PATHS: &'static [&'static str] = &[$(concat!("/stationmaster.v1.", $service, "/", $name),)*];

            /// Returns the RPC's name in grants.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns the RPC's path in a request.
            #[must_use]
            pub fn path(self) -> &'static str {
                Self::PATHS[self as usize]
            }

            /// Returns which private keys it can touch.
            #[must_use]
            pub fn keys(self) -> RpcKeys {
                match self { $(Self::$variant => RpcKeys::$key,)* }
            }

            /// Returns whether it works on a train, which a grant can name.
            #[must_use]
            pub fn is_of_trains(self) -> bool {
                match self { $(Self::$variant => $train,)* }
            }

            /// Returns the roles that include it.
            #[must_use]
            fn roles(self) -> &'static [Role] {
                match self { $(Self::$variant => &[$(Role::$role),*],)* }
            }
        }
    };
}

/// Which private keys an RPC can touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpcKeys {
    /// None.
    None,
    /// It shows keys, one by label or all; it uses none.
    Shown,
    /// The key that its request names.
    Named,
    /// The station's key on the train's route: the RPC uses the key, or touches content that was opened with it.
    Train,
}

/// Sets of RPCs that can be granted at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Station software: opens and closes trains.
    Station,
    /// Uses general keys.
    Signer,
    /// Reads results of trains, which a grant should name.
    Reader,
    /// Reads only; changes nothing and uses no key.
    Auditor,
    /// All RPCs.
    Officer,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [Self::Station, Self::Signer, Self::Reader, Self::Auditor, Self::Officer];

    /// Returns the role's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Station => "station",
            Self::Signer => "signer",
            Self::Reader => "reader",
            Self::Auditor => "auditor",
            Self::Officer => "officer",
        }
    }

    /// Returns the role's RPCs.
    pub fn rpcs(self) -> impl Iterator<Item = Rpc> {
        Rpc::ALL.iter().copied().filter(move |rpc| rpc.roles().contains(&self))
    }
}

rpcs! {
    //         service          name            keys    trains roles
    ListKeys: "KeyService" / "ListKeys", Shown, false, [Station, Signer, Auditor, Officer];
    GetKey: "KeyService" / "GetKey", Shown, false, [Station, Signer, Auditor, Officer];
    Sign: "KeyService" / "Sign", Named, false, [Signer, Officer];
    UnwrapKey: "KeyService" / "UnwrapKey", Named, false, [Signer, Officer];
    HashImage: "ImageService" / "HashImage", Train, true, [Station, Officer];
    ValidateImage: "ImageService" / "ValidateImage", None, true, [Station, Auditor, Officer];
    InspectTrain: "TrainService" / "InspectTrain", None, true, [Station, Reader, Auditor, Officer];
    PreRun: "TrainService" / "PreRun", Train, true, [Station, Officer];
    PostRun: "TrainService" / "PostRun", Train, true, [Station, Officer];
    AbortRun: "TrainService" / "AbortRun", Train, true, [Station, Officer];
    VerifyTrain: "TrainService" / "VerifyTrain", None, true, [Station, Reader, Auditor, Officer];
    OpenResults: "TrainService" / "OpenResults", Train, true, [Reader, Officer];
    CheckPush: "TrainService" / "CheckPush", None, true, [Station, Auditor, Officer];
    GetStatus: "StatusService" / "GetStatus", None, false, [Station, Signer, Auditor, Officer];
}

impl Rpc {
    /// Returns the RPC for a request's path.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        Self::PATHS.iter().position(|known| *known == path).map(|at| Self::ALL[at])
    }

    /// Returns the RPC with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rpc| rpc.name() == name)
    }
}

/// The paths of all RPCs in the protos, as read by the build.
const OF_THE_PROTOS: &[&str] = stationmaster_proto::RPC_PATHS;

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

const fn all_in(paths: &[&str], of: &[&str]) -> bool {
    let mut at = 0;
    while at < paths.len() {
        let mut other = 0;
        while other < of.len() && !same(paths[at], of[other]) {
            other += 1;
        }
        if other == of.len() {
            return false;
        }
        at += 1;
    }
    true
}

const _: () = assert!(all_in(OF_THE_PROTOS, Rpc::PATHS), "an RPC of the protos has no row in authz/rpc.rs");
const _: () = assert!(all_in(Rpc::PATHS, OF_THE_PROTOS), "a row in authz/rpc.rs belongs to no RPC in the protos");

#[cfg(test)]
mod tests {
    use crate::authz::rpc::*;

    #[test]
    fn paths_and_names_lead_to_their_rpc_and_nothing_else_does() {
        for rpc in Rpc::ALL {
            assert_eq!(Rpc::from_path(rpc.path()), Some(*rpc));
            assert_eq!(Rpc::from_name(rpc.name()), Some(*rpc));
        }
        for path in ["", "/", "/stationmaster.v1.KeyService/sign", "/stationmaster.v1.KeyService/Sign/", "/x/Sign", "Sign"] {
            assert_eq!(Rpc::from_path(path), None, "{path}");
        }
    }

    #[test]
    fn the_role_officer_includes_every_rpc_and_the_role_auditor_no_key_use() {
        assert_eq!(Role::Officer.rpcs().count(), Rpc::ALL.len());
        assert!(Role::Auditor.rpcs().all(|rpc| matches!(rpc.keys(), RpcKeys::None | RpcKeys::Shown)));
        assert!(Role::Station.rpcs().all(|rpc| rpc.keys() != RpcKeys::Named));
        let open_results: Vec<_> = Role::ALL.into_iter().filter(|role| role.rpcs().any(|rpc| rpc == Rpc::OpenResults)).collect();
        assert_eq!(open_results, [Role::Reader, Role::Officer]);
    }
}
