//! Access to a development station: for its owner, through the socket or with its client certificate.

use std::{io, path::Path};

use stationmaster_system::files::Directory;

use super::pki;

/// The access file's name in the directory.
pub(super) const FILE: &str = "access.toml";

/// Writes the file if it does not exist.
pub(super) fn ensure(file: &Path) -> io::Result<()> {
    if file.exists() {
        return Ok(());
    }
    let owner = format!("unix:uid={}", rustix::process::geteuid().as_raw());
    let client = format!("dns:{}", pki::CLIENT);
    let (directory, name) = Directory::of_file(file)?;
    directory.replace(name, 0o644, text(&[&owner, &client]).as_bytes())
}

fn text(principals: &[&str]) -> String {
    use crate::authz::{Role, Rpc};
    let rpcs: Vec<_> = Role::Officer.rpcs().map(Rpc::name).collect();
    let grant = |principal: &&str| {
        format!(
            "\n[[grant]]\nprincipal = {principal:?}\nrpcs = {rpcs:?}\nkeys = [\"*\"]\npurposes = [\"general\", \"train\"]\n\
             comment = \"the development station's own\"\n"
        )
    };
    "version = 1\n".to_owned() + &principals.iter().map(grant).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FILE);
        ensure(&file).unwrap();
        assert_eq!(crate::authz::file::read(&file).unwrap().all().len(), 2);
    }
}
