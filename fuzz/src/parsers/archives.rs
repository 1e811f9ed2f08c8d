//! Archives: of `/opt`, of the config file, and of a whole image.

use stationmaster_image::{
    ImageError,
    archive::{reader::SavedImage, source::ImageInput, stored_image::StoredImage},
    checks::master::compare_trees,
    filesystem::tree_digest::tree_digest,
    opt::{
        files::ImageFiles,
        layered::LayeredTrainTree,
        reader::{TrainTreeSink, read_config, read_opt},
        train_archive::read_train,
        train_dirs::{CONFIG_LIMIT, TrainDir},
    },
    tar::entry::FileAttrs,
};
use stationmaster_train::{names::FilePath, proof::FoundDirectory, rule::Rule};

/// Checks what the reader lets through, as it comes.
#[derive(Default)]
struct Checking {
    open: Option<u64>,
    last: [Option<FilePath>; 2],
    own: [u32; 2],
    content: u64,
}

impl Checking {
    fn check(&mut self, area: TrainDir, path: Option<&FilePath>, meta: FileAttrs) {
        assert!(self.open.is_none(), "one entry at a time");
        assert!(meta.mode <= 0o1777 && meta.uid <= u64::from(u32::MAX) && meta.gid <= u64::from(u32::MAX));
        if let Some(path) = path {
            assert_eq!(FilePath::new(path.as_str()).as_ref(), Ok(path), "a plain name");
            let last = &mut self.last[area as usize];
            assert!(last.as_ref().is_none_or(|last| last < path), "no name twice");
            *last = Some(path.clone());
        } else {
            self.own[area as usize] += 1;
        }
    }
}

impl TrainTreeSink for Checking {
    type Error = ImageError;

    fn directory(&mut self, area: TrainDir, path: Option<FilePath>, meta: FileAttrs) -> Result<(), ImageError> {
        self.check(area, path.as_ref(), meta);
        Ok(())
    }

    fn begin(&mut self, area: TrainDir, path: FilePath, meta: FileAttrs, size: u64) -> Result<(), ImageError> {
        self.check(area, Some(&path), meta);
        self.open = Some(size);
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let open = self.open.as_mut().expect("content belongs to a file");
        *open = open.checked_sub(bytes.len() as u64).expect("no more than was said");
        self.content += bytes.len() as u64;
        Ok(())
    }

    fn end(&mut self) -> Result<(), ImageError> {
        assert_eq!(self.open.take(), Some(0), "all that was said");
        Ok(())
    }

    fn other(&mut self, path: &str) -> Result<(), ImageError> {
        for area in ["pht_train", "pht_results"] {
            assert!(path != area && !path.starts_with(&format!("{area}/")), "nothing of an area is skipped");
        }
        Ok(())
    }
}

/// Hands out a few bytes at a time, as a connection may.
struct Drops<'a>(&'a [u8]);

impl std::io::Read for Drops<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(379);
        self.0.read(&mut buffer[..most])
    }
}

/// What is let through is plain, in order and whole; how it arrives does not matter.
pub fn opt(archive: &[u8]) {
    let mut sink = Checking::default();
    let read = read_opt(archive, &mut sink);
    assert!(sink.content <= archive.len() as u64, "content comes out of the archive");
    let mut slowly = Checking::default();
    let again = read_opt(Drops(archive), &mut slowly);
    assert_eq!(read.is_ok(), again.is_ok(), "pieces do not matter");
    assert_eq!((sink.content, sink.own), (slowly.content, slowly.own));
    if let Ok((train, results)) = read {
        assert!(sink.open.is_none());
        assert_eq!((train, results), (sink.own[0] > 0, sink.own[1] > 0));
    }
}

/// What is let through is the one file, whole.
pub fn config_file(archive: &[u8]) {
    if let Ok(content) = read_config(archive) {
        assert!(content.len() as u64 <= CONFIG_LIMIT && content.len() + 512 <= archive.len());
        assert!(archive.windows(content.len().max(1)).any(|part| part == content || content.is_empty()));
    }
}

/// The digest is the same each time, and every entry came from somewhere.
pub fn tree(archive: &[u8]) {
    let mut told = 0;
    let Ok(digest) = tree_digest(archive, None, |bytes| told = bytes) else { return };
    assert_eq!(tree_digest(Drops(archive), None, |_| {}).expect("pieces do not matter"), digest);
    // A path implies its parents: at most one for two bytes of a name.
    assert!(digest.entries <= archive.len() as u64);
    assert!(told <= archive.len() as u64);
}

/// Where nothing lies above, nothing differs; an image is judged when it has a digest, and only then.
pub fn validate(archive: &[u8]) {
    let compared = |shared: usize| {
        let shared = |image: &SavedImage| shared.min(image.layers.len());
        compare_trees(ImageInput::archive(archive), None, shared, None, |_| {})
    };
    let whole = compared(usize::MAX);
    assert_eq!(whole.is_ok(), tree_digest(archive, None, |_| {}).is_ok());
    let Ok((nothing, image)) = whole else { return };
    assert_eq!(nothing.count(), 0, "nothing is above the master");
    for shared in 0..image.layers.len() {
        let (found, _) = compared(shared).expect("it was read before");
        assert!(found.kept.len() as u64 <= found.count());
        assert!(found.kept.iter().all(|one| one.expected != one.found), "a difference is one");
    }
}

/// Keeps the files that are let through.
#[derive(Default)]
struct Files(Vec<(TrainDir, FilePath)>);

impl TrainTreeSink for Files {
    type Error = ImageError;

    fn begin(&mut self, area: TrainDir, path: FilePath, _: FileAttrs, _: u64) -> Result<(), ImageError> {
        self.0.push((area, path));
        Ok(())
    }
}

/// What a saved image's layers leave of `/opt` is the same for who reads it by position, as a step does, and for who reads it in one pass, as a
/// verification does.
pub fn opt_files(archive: &[u8]) {
    let directory = std::env::temp_dir();
    let mut file = tempfile::tempfile().expect("a file without a name");
    std::io::Write::write_all(&mut file, archive).expect("a disk");
    let files = LayeredTrainTree::new(StoredImage::archive(file), directory, 0);
    let mut by_position = Files::default();
    let opt = files.read("/opt", &Default::default()).and_then(|opt| read_opt(opt, &mut by_position));
    if opt.is_err() {
        return;
    }
    // Another kind of archive may begin as this one does.
    let Ok(train) = read_train(archive, &|| Ok(())) else { return };
    let found = &train.found;
    let of = |area, directory: &FoundDirectory| directory.files().map(|path| (area, path.clone())).collect::<Vec<_>>();
    let mut in_one_pass = [of(TrainDir::Results, &found.results), of(TrainDir::Train, &found.code)].concat();
    in_one_pass.sort_by(|one, other| (one.0 as u8, &one.1).cmp(&(other.0 as u8, &other.1)));
    by_position.0.sort_by(|one, other| (one.0 as u8, &one.1).cmp(&(other.0 as u8, &other.1)));
    assert_eq!(in_one_pass, by_position.0);
    assert!(found.broken_by(Rule::NoLinks).is_none() && found.broken_by(Rule::PlainNames).is_none());
}
