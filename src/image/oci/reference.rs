//! Image references: the strict form of `repository:tag`.

use std::{fmt, str::FromStr, sync::LazyLock};

use regex_lite::Regex;

use crate::image::ImageError;

/// Longest path of a repository, in bytes, as engines count it (Docker Hub's `library/` included).
const LONGEST_PATH: usize = 255;
/// Longest repository, in bytes: a host name (253) with a port, a slash, and a path.
const LONGEST: usize = 253 + 6 + 1 + LONGEST_PATH;

/// Repository and tag of a reference, as engines take them: the pattern of `github.com/distribution/reference`, without digests.
static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    let label = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    let host = format!(r"{label}(?:\.{label})*(?::[0-9]+)?");
    let component = "[a-z0-9]+(?:(?:[._]|__|-*)[a-z0-9]+)*";
    let pattern = format!(r"^((?:{host}/)?{component}(?:/{component})*)(?::([a-zA-Z0-9_][a-zA-Z0-9_.-]{{0,127}}))?$");
    Regex::new(&pattern).expect("a constant pattern")
});

/// A `repository:tag`, as the caller wrote it (an omitted tag is `latest`).
///
/// Ports in the registry's name are understood (`host:5000/repo` has no tag). Digest references are refused: a digest cannot
/// be written to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageName {
    repository: String,
    tag: String,
}

impl ImageName {
    /// The repository with its registry, as written.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// A name of our own making; both parts must be valid.
    pub(crate) fn private(repository: &str, tag: &str) -> Self {
        Self { repository: repository.to_owned(), tag: tag.to_owned() }
    }

    /// The same repository with another tag.
    pub fn with_tag(&self, tag: &str) -> Self {
        Self { repository: self.repository.clone(), tag: tag.to_owned() }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

impl FromStr for ImageName {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        if text.contains('@') {
            return Err(ImageError::Reference("a digest cannot be written to; give repository:tag"));
        }
        // `sha256` alone would become `sha256:latest`, and that reads as an id.
        if text == "sha256" || text.starts_with("sha256:") || is_hex_id(text) {
            return Err(ImageError::Reference("an image id cannot be written to; give repository:tag"));
        }
        if !text.is_ascii() {
            return Err(ImageError::Reference("give repository:tag, in ASCII"));
        }
        if text.len() > LONGEST + 1 + LONGEST_TAG {
            return Err(ImageError::Reference(flaw(text)));
        }
        let parts = REFERENCE.captures(text).ok_or_else(|| ImageError::Reference(flaw(text)))?;
        let (repository, tag) = (&parts[1], parts.get(2).map_or("latest", |tag| tag.as_str()));
        if path_length(repository) > LONGEST_PATH || repository.len() > LONGEST {
            return Err(ImageError::Reference(TOO_LONG));
        }
        Ok(Self { repository: repository.to_owned(), tag: tag.to_owned() })
    }
}

/// The length of what follows the registry's host. What has no host is at Docker Hub.
fn path_length(repository: &str) -> usize {
    match repository.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path.len(),
        Some(_) => repository.len(),
        None => "library/".len() + repository.len(),
    }
}

/// An image to read: a name, or an id that the engine or a layout gave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// `repository:tag`.
    Name(ImageName),
    /// `sha256:` and 64 hex digits; `repository@sha256:…` in a layout, and where an engine knows an image by a registry's digest.
    Id(String),
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Id(id) => f.write_str(id),
        }
    }
}

impl FromStr for ImageSource {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        if let Some((repository, digest)) = text.split_once('@') {
            let name: ImageName = repository.parse()?;
            let is_digest = digest.strip_prefix("sha256:").is_some_and(is_hex_id);
            return match name.repository() == repository && is_digest {
                true => Ok(Self::Id(text.to_owned())),
                false => Err(ImageError::Reference("a digest is repository@sha256: and 64 hex digits, without a tag")),
            };
        }
        // As engines print it, and take it.
        if is_hex_id(text) {
            return Ok(Self::Id(format!("sha256:{text}")));
        }
        match text.strip_prefix("sha256:") {
            Some(hex) if is_hex_id(hex) => Ok(Self::Id(text.to_owned())),
            Some(_) => Err(ImageError::Reference("an image id is sha256: and all 64 hex digits (`docker images --no-trunc`)")),
            None => text.parse().map(Self::Name),
        }
    }
}

/// Longest tag, in characters (OCI distribution-spec, "Pulling manifests").
const LONGEST_TAG: usize = 128;

const TOO_LONG: &str = "the repository is longer than 515 bytes, or its path than 255: give repository:tag";

/// What is wrong with what is no reference.
fn flaw(text: &str) -> &'static str {
    let last = text.rsplit('/').next().unwrap_or(text);
    let (repository, tag) = match last.rsplit_once(':') {
        Some((_, tag)) => (&text[..text.len() - tag.len() - 1], Some(tag)),
        None => (text, None),
    };
    match tag {
        _ if text.is_empty() => "it is empty: give repository:tag",
        _ if text.contains(char::is_whitespace) => "there is a blank in it: give repository:tag",
        _ if text.contains("://") => "without `docker://` or the like before it: give repository:tag",
        Some("") => "there is no tag behind the colon: give repository:tag",
        Some(tag) if tag.len() > LONGEST_TAG => "the tag is longer than 128 characters",
        _ if repository.contains(|letter: char| letter.is_ascii_uppercase()) => {
            "the repository has capital letters: give it in lower case"
        }
        _ if repository.len() > LONGEST => TOO_LONG,
        _ => "give repository:tag, of letters, digits and single `.`, `_`, `-` between them",
    }
}

/// Whether a name looks like the beginning of an image's id, as `docker images` prints it.
pub fn looks_like_short_id(image: &ImageSource) -> bool {
    let ImageSource::Name(name) = image else { return false };
    let text = name.repository();
    name.tag() == "latest"
        && (6..64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_hex_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use crate::image::oci::reference::*;

    fn name(text: &str) -> (String, String) {
        let name: ImageName = text.parse().unwrap();
        (name.repository, name.tag)
    }

    #[test]
    fn a_port_is_not_a_tag() {
        assert_eq!(name("harbor:5000/pht/train"), ("harbor:5000/pht/train".into(), "latest".into()));
        assert_eq!(name("harbor:5000/pht/train:base"), ("harbor:5000/pht/train".into(), "base".into()));
        assert_eq!(name("train"), ("train".into(), "latest".into()));
        assert_eq!(name("train:x").1, "x");
    }

    /// From the tests of `github.com/distribution/reference`.
    #[test]
    fn a_reference_is_what_engines_take() {
        for (text, repository, tag) in [
            ("test.com:5000", "test.com", "5000"),
            ("test:5000/repo:tag", "test:5000/repo", "tag"),
            ("lowercase:Uppercase", "lowercase", "Uppercase"),
            ("sub-dom1.foo.com/bar/baz/quux:some-long-tag", "sub-dom1.foo.com/bar/baz/quux", "some-long-tag"),
            ("xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com/myimage", "xn--n3h.com"),
            ("foo/foo_bar.com:8080", "foo/foo_bar.com", "8080"),
            ("Harbor.example/a__b/c--d.e:_x", "Harbor.example/a__b/c--d.e", "_x"),
            ("a-/b", "", ""),
            ("-a.example/b", "", ""),
            ("a.example//b", "", ""),
            ("a.example/b/", "", ""),
            ("a.example/b_", "", ""),
            ("a.example/b___c", "", ""),
            ("a.example/b..c", "", ""),
            ("a.example:/b", "", ""),
            ("a/b:.x", "", ""),
            ("a/B:x", "", ""),
            ("train:x\n", "", ""),
            ("\ntrain:x", "", ""),
        ] {
            match text.parse::<ImageName>() {
                Ok(name) => assert_eq!((name.repository.as_str(), name.tag.as_str()), (repository, tag), "{text:?}"),
                Err(_) => assert_eq!(repository, "", "{text:?}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_reference_is_said() {
        let tag = format!("train:{}", "t".repeat(LONGEST_TAG + 1));
        for (text, flaw) in [
            ("", "empty"),
            ("my train:x", "blank"),
            (" train:x", "blank"),
            ("docker://harbor.example/train:x", "docker://"),
            ("oci://train", "docker://"),
            ("train:", "no tag"),
            (tag.as_str(), "longer than 128"),
            ("Harbor/Train:x", "capital letters"),
            ("train:x:y:z", "repository:tag"),
            ("sha256:abcdef123456", "64 hex digits"),
        ] {
            let error = text.parse::<ImageSource>().unwrap_err().to_string();
            assert!(error.contains(flaw), "{text:?}: {error}");
        }
        let hex = "0123456789abcdef".repeat(4);
        assert_eq!(hex.parse::<ImageSource>().unwrap(), ImageSource::Id(format!("sha256:{hex}")), "as `docker images` prints it");
        assert!(looks_like_short_id(&hex[..12].parse().unwrap()));
        assert!(!looks_like_short_id(&"decade:x".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_written_to_is_refused() {
        let id = format!("sha256:{}", "a".repeat(64));
        for bad in ["", "Train:x", "a b", "train@sha256:00", "train:", ":x", "../x", id.as_str(), &id[7..], "-x", "x:y:z"] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?} was accepted");
        }
        let host = format!("{}.example/train:x", "h".repeat(LONGEST));
        assert!(host.parse::<ImageName>().is_err(), "a host without end was accepted");
        for (before, longest) in
            [("harbor.example/", 255), ("harbor:5000/", 255), ("localhost/", 255), ("library/", 247), ("", 247)]
        {
            let long = |length: usize| format!("{before}{}", "t".repeat(length)).parse::<ImageName>();
            assert!(long(longest).is_ok() && long(longest + 1).is_err(), "{before}");
        }
        assert_eq!(id.parse::<ImageSource>().unwrap(), ImageSource::Id(id.clone()));
        let of_layout = format!("pht/train@{id}");
        assert_eq!(of_layout.parse::<ImageSource>().unwrap(), ImageSource::Id(of_layout));
        for bad in ["train@sha256:00", "train:x@sha256:00", &format!("train:x@{id}"), &format!("../x@{id}"), &format!("@{id}")] {
            assert!(bad.parse::<ImageSource>().is_err(), "{bad:?} was accepted");
        }
    }
}
