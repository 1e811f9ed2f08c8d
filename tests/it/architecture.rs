//! Imports point down, modules form no cycle, and each outside library has one place.
//!
//! Between crates the compiler checks it. Within a crate this test does, from the syntax trees of all source files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{UseTree, visit::Visit};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Each crate of the product, its sources, and the other crates of the workspace that it may depend on.
const CRATES: [(&str, &str, &[&str]); 7] = [
    ("train", "crates/train", &[]),
    ("system", "crates/system", &[]),
    ("proto", "crates/proto", &[]),
    ("keystore", "crates/keystore", &["system"]),
    ("image", "crates/image", &["system", "train"]),
    ("", "", &["image", "keystore", "proto", "system", "train"]),
    ("demo", "crates/demo", &["", "image", "keystore", "proto", "train"]),
];

/// A module of the service's crate, and the modules and crates that it may name. A module that is not in the list may name none.
const LAYERS: [(&str, &[&str]); 16] = [
    ("watched_file", &["system"]),
    ("key_file", &[]),
    ("ledger", &["image", "system", "train"]),
    ("trust", &["system", "train", "watched_file"]),
    ("authz", &["proto", "system", "watched_file"]),
    ("key_states", &["system", "watched_file"]),
    ("audit", &["system", "train"]),
    ("state", &["audit", "key_states", "ledger", "system"]),
    ("protocol", &["audit", "authz", "image", "key_states", "keystore", "ledger", "system", "train", "trust", "watched_file"]),
    ("service", &["audit", "authz", "image", "key_states", "keystore", "ledger", "proto", "protocol", "train", "trust"]),
    ("config", &["audit", "keystore", "system", "train", "trust"]),
    (
        "server",
        &[
            "audit",
            "authz",
            "config",
            "image",
            "key_file",
            "key_states",
            "keystore",
            "ledger",
            "proto",
            "protocol",
            "service",
            "state",
            "system",
            "train",
            "trust",
        ],
    ),
    ("checks", &["audit", "authz", "config", "image", "key_states", "keystore", "ledger", "server", "state", "system", "trust"]),
    ("dev", &["audit", "authz", "config", "keystore", "protocol", "server", "service", "system", "train", "trust"]),
    (
        "cli",
        &[
            "audit",
            "authz",
            "checks",
            "config",
            "dev",
            "image",
            "key_file",
            "key_states",
            "keystore",
            "ledger",
            "proto",
            "protocol",
            "server",
            "service",
            "state",
            "system",
            "train",
            "trust",
            "watched_file",
        ],
    ),
    ("main", &["cli", "system"]),
];

/// Outside libraries, and the only places that may name them.
const LIBRARIES: [(&str, &[&str]); 3] = [
    ("cryptoki", &["crates/keystore/src/pkcs11"]),
    ("bollard", &["crates/image/src/store/docker", "crates/demo/src"]),
    ("sqlx", &["src/ledger/sqlite"]),
];

/// Cycles that are left: crate and parent module. No other may come, and one that is resolved leaves the list.
const CYCLES: &[(&str, &str)] = &[];

/// A source file: its path below the repository, its module path within the crate, and every path that it names.
struct Source {
    file: String,
    module: Vec<String>,
    named: BTreeSet<Vec<String>>,
}

/// Collects every path of a syntax tree, with `use` trees flattened.
#[derive(Default)]
struct Paths(BTreeSet<Vec<String>>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_use_tree(&mut self, tree: &'ast UseTree) {
        self.flatten(tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }
}

impl Paths {
    fn flatten(&mut self, tree: &UseTree, prefix: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.flatten(&path.tree, prefix);
                prefix.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|item| self.flatten(item, prefix)),
            UseTree::Name(name) => drop(self.0.insert([prefix.as_slice(), &[name.ident.to_string()]].concat())),
            UseTree::Rename(name) => drop(self.0.insert([prefix.as_slice(), &[name.ident.to_string()]].concat())),
            UseTree::Glob(_) => drop(self.0.insert(prefix.clone())),
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Returns the sources of a crate without its tests, which may name anything.
fn sources(directory: &str) -> Vec<Source> {
    let src = Path::new(ROOT).join(directory).join("src");
    let mut found = Vec::new();
    for path in files(&src) {
        let below = path.strip_prefix(&src).expect("below src").with_extension("");
        let mut module: Vec<String> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module.iter().any(|part| part == "tests" || part == "generated") {
            continue;
        }
        if module == ["lib"] {
            module.clear();
        }
        let text = fs::read_to_string(&path).expect("a source file");
        let mut syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        syntax.items.retain(|item| !matches!(item, syn::Item::Mod(one) if one.ident == "tests"));
        let mut paths = Paths::default();
        paths.visit_file(&syntax);
        let file = path.strip_prefix(ROOT).expect("below the repository").to_string_lossy().into_owned();
        found.push(Source { file, module, named: paths.0 });
    }
    assert!(!found.is_empty(), "{}", src.display());
    found
}

/// Returns a path as segments below the crate; `None` for the path of another crate or of an item in scope.
fn within_crate(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    let mut from = match first.as_str() {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module[..module.len().checked_sub(1)?].to_vec(),
        _ => return None,
    };
    for segment in rest {
        if segment == "super" {
            from.pop();
        } else {
            from.push(segment.clone());
        }
    }
    Some(from)
}

/// Returns the workspace's crate that a path names.
fn of_workspace(path: &[String]) -> Option<&str> {
    path.first()?.strip_prefix("stationmaster_")
}

/// Returns the modules that a syntax tree declares as files, as paths below `module`.
fn declared(module: &[String], items: &[syn::Item]) -> Vec<Vec<String>> {
    let modules = items.iter().filter_map(|item| if let syn::Item::Mod(one) = item { Some(one) } else { None });
    modules
        .flat_map(|one| {
            let path = [module, &[one.ident.to_string()]].concat();
            match &one.content {
                Some((_, items)) => declared(&path, items),
                None => vec![path],
            }
        })
        .collect()
}

/// A file that no module declares is not compiled, and what it says is not true.
#[test]
fn every_source_file_is_part_of_a_module() {
    let roots = CRATES.map(|(_, directory, _)| Path::new(ROOT).join(directory).join("src"));
    let mut orphans = Vec::new();
    for root in roots.into_iter().chain(["tests/it", "tests/pkcs11-fault/src"].map(|root| Path::new(ROOT).join(root))) {
        let mut known = BTreeSet::from([vec!["lib".to_owned()], vec!["main".to_owned()]]);
        let mut present = BTreeMap::new();
        for path in files(&root) {
            let below = path.strip_prefix(&root).expect("below the root").with_extension("");
            // Included as text.
            if below.starts_with("generated") {
                continue;
            }
            let mut module: Vec<String> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            present.insert(module.clone(), path.clone());
            if module == ["lib"] || module == ["main"] {
                module.clear();
            }
            let syntax = syn::parse_file(&fs::read_to_string(&path).expect("a source file")).expect("Rust");
            known.extend(declared(&module, &syntax.items));
        }
        orphans.extend(present.into_iter().filter(|(module, _)| !known.contains(module)).map(|(_, path)| path));
    }
    assert!(orphans.is_empty(), "declared by no module: {orphans:?}");
}

#[test]
fn crates_depend_on_those_below_only() {
    for (name, directory, allowed) in CRATES {
        let manifest = fs::read_to_string(Path::new(ROOT).join(directory).join("Cargo.toml")).expect("a manifest");
        let manifest: toml::Table = manifest.parse().expect("TOML");
        let dependencies = manifest["dependencies"].as_table().expect("dependencies");
        let named: BTreeSet<&str> = dependencies
            .keys()
            .filter_map(|key| key.strip_prefix("stationmaster"))
            .map(|rest| rest.trim_start_matches('-'))
            .collect();
        assert_eq!(named, allowed.iter().copied().collect(), "dependencies of `{name}`");
    }
}

#[test]
fn imports_point_down_only() {
    let layers: BTreeMap<_, _> = LAYERS.into();
    let (mut upward, mut count) = (Vec::new(), 0);
    for source in sources("") {
        let Some(module) = source.module.first() else { continue };
        let allowed = layers.get(module.as_str()).unwrap_or_else(|| panic!("{}: `{module}` is in no layer", source.file));
        for path in &source.named {
            let inner = within_crate(&source.module, path);
            let named = inner.as_ref().and_then(|inner| inner.first()).map(String::as_str).or_else(|| of_workspace(path));
            let Some(named) = named else { continue };
            let is_layer = layers.contains_key(named) || of_workspace(path).is_some();
            if !is_layer || named == module {
                continue;
            }
            count += 1;
            if !allowed.contains(&named) {
                upward.push(format!("{} names {}", source.file, path.join("::")));
            }
        }
    }
    assert!(count > 300, "only {count} imports were seen");
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn modules_form_no_cycle() {
    let (mut cycles, mut found) = (Vec::new(), Vec::new());
    for (name, directory, _) in CRATES {
        let sources = sources(directory);
        let modules: BTreeSet<&[String]> = sources.iter().map(|source| source.module.as_slice()).collect();
        // For each module, which of its children names which other child.
        let mut edges: BTreeMap<&[String], BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
        for source in &sources {
            for path in source.named.iter().filter_map(|path| within_crate(&source.module, path)) {
                let end = (0..=path.len()).rev().find(|end| modules.contains(&path[..*end])).unwrap_or_default();
                let Some(target) = modules.get(&path[..end]) else { continue };
                let common = source.module.iter().zip(*target).take_while(|(one, other)| one == other).count();
                if let (Some(from), Some(to)) = (source.module.get(common), target.get(common)) {
                    edges.entry(&source.module[..common]).or_default().entry(from).or_default().insert(to);
                }
            }
        }
        for (parent, graph) in edges {
            let mut left = graph.clone();
            // A module that names no remaining module is on no cycle.
            while let Some(leaf) = left.iter().find(|(_, to)| to.iter().all(|to| !left.contains_key(to))).map(|(leaf, _)| *leaf) {
                left.remove(leaf);
            }
            if !left.is_empty() {
                let members: Vec<_> = left.iter().map(|(from, to)| format!("{from} -> {to:?}")).collect();
                found.push((name.to_owned(), parent.join("::")));
                cycles.push(format!("crate `{name}`, below `{}`: {}", parent.join("::"), members.join("; ")));
            }
        }
    }
    let known: Vec<_> = CYCLES.iter().map(|(name, parent)| ((*name).to_owned(), (*parent).to_owned())).collect();
    assert_eq!(found, known, "{}", cycles.join("\n"));
}

#[test]
fn each_outside_library_has_one_place() {
    let mut elsewhere = Vec::new();
    for (_, directory, _) in CRATES {
        for source in sources(directory) {
            let file = source.file.as_str();
            for (library, places) in LIBRARIES {
                let is_inside =
                    places.iter().any(|place| file.starts_with(&format!("{place}/")) || file == format!("{place}.rs"));
                if !is_inside && source.named.iter().any(|path| path[0] == library) {
                    elsewhere.push(format!("{file} names {library}"));
                }
            }
            let has_status = file.starts_with("src/service/status");
            if !has_status && source.named.iter().any(|path| path.ends_with(&["Status".to_owned()])) {
                elsewhere.push(format!("{file} names the wire's Status"));
            }
        }
    }
    assert!(elsewhere.is_empty(), "{}", elsewhere.join("\n"));
}

/// Collects the names of the public types of a file, with those of inline modules.
#[derive(Default)]
struct PublicTypes(Vec<String>);

impl<'ast> Visit<'ast> for PublicTypes {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let named = match item {
            syn::Item::Struct(one) => Some((&one.vis, &one.ident)),
            syn::Item::Enum(one) => Some((&one.vis, &one.ident)),
            syn::Item::Trait(one) => Some((&one.vis, &one.ident)),
            _ => None,
        };
        if let Some((syn::Visibility::Public(_), ident)) = named {
            self.0.push(ident.to_string());
        }
        syn::visit::visit_item(self, item);
    }
}

#[test]
fn no_two_public_types_share_a_name() {
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for (_, directory, _) in CRATES {
        for source in sources(directory) {
            let text = fs::read_to_string(Path::new(ROOT).join(&source.file)).expect("a source file");
            let mut syntax = syn::parse_file(&text).expect("Rust");
            syntax.items.retain(|item| !matches!(item, syn::Item::Mod(one) if one.ident == "tests"));
            let mut types = PublicTypes::default();
            types.visit_file(&syntax);
            for name in types.0 {
                places.entry(name).or_default().push(source.file.clone());
            }
        }
    }
    assert!(places.len() > 100, "only {} types were seen", places.len());
    let shared: Vec<_> = places.iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(shared.is_empty(), "{shared:#?}");
}
