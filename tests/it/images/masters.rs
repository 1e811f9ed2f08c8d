//! A master image, and images made on it: one as the creator's builder makes it, and those that are more than that.

use std::collections::BTreeMap;

use tar::EntryType;

use crate::support::{
    Engine,
    tamper::{Rootfs, Scene, commit_layer, commit_with, run_script},
};

/// What stands at a path of a layer.
#[derive(Clone, Copy)]
pub enum At<'a> {
    File(&'a str, u32),
    Link(&'a str),
    Directory(u32),
}

/// An image that is more than a master and a train.
pub struct Bad {
    pub image: String,
    /// Differences that must be told: what, and where.
    pub found: Vec<(&'static str, &'static str)>,
    /// What train_lib 2.0.6a0 says of it, with an engine before 25.
    pub train_lib: &'static str,
}

/// A master in a repository of its own, beside a train's. It goes with the train.
pub struct Masters {
    pub engine: Engine,
    /// The master's repository.
    pub repository: String,
    /// The images' repository.
    images: String,
    pub id: String,
}

impl Masters {
    /// What the tests' trains run on, with a tool in `/opt`.
    pub fn make(scene: &Scene) -> Self {
        let mut rootfs = scene.rootfs();
        for path in ["opt/pht_train", "opt/pht_results", "opt/train_config.json", "opt/user_sym_key.key"] {
            if rootfs.has(path) {
                rootfs.remove(path);
            }
        }
        rootfs.add_file("opt/tool", b"tool");
        if !rootfs.has("etc") {
            rootfs.add("etc", EntryType::Directory, "");
        }
        rootfs.add_file("etc/passwd-of-master", b"root:x:0:0");
        rootfs.add("etc/link", EntryType::Symlink, "passwd-of-master");
        let repository = format!("{}-master", scene.train.repository);
        let engine = scene.engine.clone();
        // Labelled as the train's, and so removed with it.
        let id = rootfs.put(&engine, &scene.train.repository, "master");
        engine.tag(&id, &repository, "1");
        Self { engine, repository, images: scene.train.repository.clone(), id }
    }

    /// An image of the master with a layer of these entries, and with `changes` (`ENV A=b`); answers its name.
    pub fn image(&self, tag: &str, entries: &[(&str, At<'_>)], changes: &str) -> String {
        self.on(&self.id, tag, entries, changes)
    }

    /// The same on another image.
    pub fn on(&self, parent: &str, tag: &str, entries: &[(&str, At<'_>)], changes: &str) -> String {
        let mut layer = Rootfs::default();
        for (path, at) in entries {
            match at {
                At::File(content, mode) => {
                    layer.add_file(path, content.as_bytes());
                    layer.entry(path).mode = *mode;
                }
                At::Link(target) => layer.add(path, EntryType::Symlink, target),
                At::Directory(mode) => {
                    layer.add(path, EntryType::Directory, "");
                    layer.entry(path).mode = *mode;
                }
            }
        }
        commit_layer(&self.engine, parent, Some(layer.tar()), changes, &self.images, tag);
        format!("{}:{tag}", self.images)
    }

    /// A train as it should be.
    pub fn good(&self) -> String {
        let train = [
            ("opt/pht_train", At::Directory(0o755)),
            ("opt/pht_train/run.sh", At::File("echo", 0o755)),
            ("opt/pht_results", At::Directory(0o755)),
            ("opt/train_config.json", At::File("{}", 0o644)),
            ("opt/user_sym_key.key", At::File("key", 0o644)),
        ];
        self.image("good", &train, "CMD [\"python\", \"/opt/pht_train/entrypoint.py\"]")
    }

    /// The images that are more than a master and a train: by name, with what must be found. The first four are those that were measured with
    /// train_lib.
    pub fn bad(&self) -> BTreeMap<&'static str, Bad> {
        let backdoor = [("etc/passwd-of-master", At::File("root::0:0", 0o644)), ("usr/lib/backdoor.so", At::File("x", 0o755))];
        let settings = "ENTRYPOINT [\"/opt/pht_train/x\"]\nUSER 0\nENV LD_PRELOAD=/opt/pht_train/x.so";
        let removed = self.image("removed", &[], "");
        run_script(&self.engine, &removed, "rm /opt/tool");
        let shell = self.image("shell", &[], "");
        commit_with(&self.engine, &shell, "CMD sh /opt/pht_train/x", &self.images, "shell");
        [
            (
                "backdoor",
                self.image("backdoor", &backdoor, ""),
                vec![("content", "etc/passwd-of-master"), ("added", "usr/lib/backdoor.so")],
            ),
            (
                "retarget",
                self.image("retarget", &[("etc/link", At::Link("/opt/pht_train/x"))], ""),
                vec![("link-target", "etc/link")],
            ),
            (
                "settings",
                self.image("settings", &[], settings),
                vec![("config", "Entrypoint"), ("config", "User"), ("config", "Env")],
            ),
            (
                "prefix",
                self.image("prefix", &[("opt/pht_results_evil.so", At::File("x", 0o755))], ""),
                vec![("added", "opt/pht_results_evil.so")],
            ),
            (
                "link for file",
                self.image("linked", &[("etc/passwd-of-master", At::Link("/opt/pht_train/x"))], ""),
                vec![("type", "etc/passwd-of-master")],
            ),
            ("mode", self.image("mode", &[("etc", At::Directory(0o777))], ""), vec![("mode", "etc")]),
            ("removed", removed, vec![("removed", "opt/tool")]),
            ("volume", self.image("volume", &[], "VOLUME /etc"), vec![("config", "Volumes")]),
            ("onbuild", self.image("onbuild", &[], "ONBUILD RUN x"), vec![("config", "OnBuild")]),
            ("shell", shell, vec![("config", "Cmd")]),
            (
                "link among the code",
                self.image("inside", &[("opt/pht_train/l", At::Link("/etc"))], ""),
                vec![("type", "opt/pht_train/l")],
            ),
        ]
        .map(|(name, image, found)| {
            let train_lib = if name == "backdoor" { "rejected: files" } else { "accepted" };
            (name, Bad { image, found, train_lib })
        })
        .into()
    }
}
