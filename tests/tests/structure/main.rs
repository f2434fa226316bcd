//! The modules of each crate depend on each other in one direction.
//!
//! In: the sources. Of `crate::`, `super::`, `self::`, re-exports, groups and what macros name, each is
//! resolved to the module that has the item. A module may use those inside it and those around it;
//! among modules side by side there are no circles, and rooms (modules of the crate's root) use only
//! those before them. What only tests use does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};
use syn::{Attribute, ItemFn, ItemImpl, ItemMod, ItemUse, Macro, UseTree};

/// Each crate's rooms, from what knows nothing to what knows it all.
const ORDERS: [(&str, &[&str]); 6] = [
    ("hal", &["block", "clock", "device", "driver", "volume", "cost", "adapter"]),
    (
        "kernel",
        &[
            "config", "slices", "math", "image", "adapter", "memory", "read", "layer", "text",
            "decode",
        ],
    ),
    (
        "kernel/program",
        &[
            "code", "error", "words", "number", "operator", "nest", "sizes", "check", "program",
            "run",
        ],
    ),
    (
        "kernel/tune",
        &[
            "real",
            "vector",
            "arms",
            "options",
            "error",
            "slots",
            "check",
            "optimise",
            "activation",
            "norm",
            "shape",
            "region",
            "plan",
            "tape",
            "adapter",
            "random",
            "attention",
            "select",
            "columns",
            "model",
            "neurons",
            "space",
            "spill",
            "embed",
            "ffn",
            "loss",
            "attend",
            "guide",
            "layer",
            "tuner",
            "steps",
        ],
    ),
    (
        "host-sim/derive",
        &[
            "index",
            "expr",
            "check",
            "interpret",
            "network",
            "rules",
            "terms",
            "library",
            "search",
            "machine",
            "plan",
            "textbook",
            "fixed",
            "cache",
            "derive",
            "emit",
            "notation",
            "explain",
            "onnx",
        ],
    ),
    (
        "host-sim",
        &[
            "process",
            "model",
            "import",
            "cost",
            "predictor",
            "profile",
            "machine",
            "placement",
            "pack",
            "layout",
            "run",
            "tune",
            "plot",
            "bench",
            "study",
            "html",
            "medium",
            "cli",
        ],
    ),
];

/// Names from the root of the crate to a module, or to an item.
type Names = Vec<String>;

/// What one module says of others.
#[derive(Default)]
struct Module {
    /// Names that are brought into it, and the path behind each.
    imports: BTreeMap<String, Names>,
    /// Paths that it names.
    paths: BTreeSet<Names>,
}

/// The modules of one crate.
#[derive(Default)]
struct Crate {
    modules: BTreeMap<Names, Module>,
}

/// Reads one module and those declared in it.
struct Reader<'s> {
    read: &'s dyn Fn(&[String]) -> String,
    at: Names,
    out: Crate,
}

fn only_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

impl Reader<'_> {
    fn module(&mut self) -> &mut Module {
        self.out.modules.entry(self.at.clone()).or_default()
    }

    fn file(&mut self) {
        let text = (self.read)(&self.at);
        let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{:?}: {e}", self.at));
        self.module();
        self.visit_file(&file);
    }

    fn import(&mut self, before: &Names, tree: &UseTree) {
        let with = |name: String| [before.as_slice(), &[name]].concat();
        let (name, path) = match tree {
            UseTree::Path(path) => return self.import(&with(path.ident.to_string()), &path.tree),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(before, tree));
            }
            UseTree::Glob(_) => (None, before.clone()),
            UseTree::Name(name) if name.ident == "self" => (before.last().cloned(), before.clone()),
            UseTree::Name(name) => (Some(name.ident.to_string()), with(name.ident.to_string())),
            UseTree::Rename(name) => (Some(name.rename.to_string()), with(name.ident.to_string())),
        };
        let module = self.module();
        module.imports.extend(name.map(|name| (name, path.clone())));
        module.paths.insert(path);
    }
}

impl<'a> Visit<'a> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if only_for_tests(&item.attrs) {
            return;
        }
        self.at.push(item.ident.to_string());
        match &item.content {
            Some(_) => {
                self.module();
                visit::visit_item_mod(self, item);
            }
            None => self.file(),
        }
        self.at.pop();
    }

    fn visit_item_fn(&mut self, item: &'a ItemFn) {
        if !only_for_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'a ItemImpl) {
        if !only_for_tests(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        if !only_for_tests(&item.attrs) {
            self.import(&Names::new(), &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.module().paths.insert(names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'a Macro) {
        let tokens = item.tokens.to_string();
        let words: Vec<&str> = tokens.split_whitespace().collect();
        for (at, _) in words.iter().enumerate().filter(|(_, w)| ["crate", "super"].contains(w)) {
            let names = words[at..].chunks(2).take_while(|pair| pair.get(1) == Some(&"::"));
            let count = names.count() + 1;
            let names = words[at..].iter().step_by(2).take(count).map(|w| (*w).to_owned());
            let names = names.collect();
            self.module().paths.insert(names);
        }
        visit::visit_macro(self, item);
    }
}

impl Crate {
    fn of(read: &dyn Fn(&[String]) -> String) -> Self {
        let mut reader = Reader { read, at: Names::new(), out: Self::default() };
        reader.file();
        reader.out
    }

    fn named(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
        Self::of(&|names| {
            let path = names.iter().fold(root.to_owned(), |path, name| path.join(name));
            let file = |path: PathBuf| fs::read_to_string(path).ok();
            let lib = names.is_empty().then(|| file(root.join("lib.rs"))).flatten();
            let text = lib.or_else(|| file(path.with_extension("rs")));
            text.or_else(|| file(path.join("mod.rs"))).unwrap_or_else(|| panic!("{names:?}"))
        })
    }

    /// The module that has what `from` calls `path`; nothing where it is of another crate.
    fn resolve(&self, from: &[String], path: &[String], depth: u32) -> Option<Names> {
        let (first, mut rest) = path.split_first()?;
        let mut at = from.to_vec();
        match first.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => drop(at.pop()),
            _ => rest = path,
        }
        let mut known = rest.len() < path.len();
        for (place, name) in rest.iter().enumerate() {
            if name == "super" {
                at.pop();
                continue;
            }
            let inner = [at.as_slice(), std::slice::from_ref(name)].concat();
            if self.modules.contains_key(&inner) {
                at = inner;
            } else if let Some(behind) = self.modules[&at].imports.get(name) {
                let whole = [behind.as_slice(), &rest[place + 1..]].concat();
                // Depth: a name may stand for one of the same name in another crate.
                return if depth > 0 { self.resolve(&at, &whole, depth - 1) } else { None };
            } else {
                return known.then_some(at);
            }
            known = true;
        }
        known.then_some(at)
    }

    /// For each module, which of those in it use which others in it: names, and a module that does.
    fn uses(&self) -> BTreeMap<Names, BTreeMap<(String, String), String>> {
        let mut all: BTreeMap<Names, BTreeMap<_, _>> = BTreeMap::new();
        for (from, module) in &self.modules {
            for to in module.paths.iter().filter_map(|path| self.resolve(from, path, 8)) {
                let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
                if let (Some(a), Some(b)) = (from.get(common), to.get(common)) {
                    let uses = all.entry(from[..common].to_vec()).or_default();
                    uses.insert((a.clone(), b.clone()), from.join("::"));
                }
            }
        }
        all
    }

    /// Modules side by side that use each other, in a circle.
    fn circles(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (around, mut uses) in self.uses() {
            loop {
                let used: BTreeSet<String> = uses.keys().map(|(_, to)| to.clone()).collect();
                let users: BTreeSet<String> = uses.keys().map(|(from, _)| from.clone()).collect();
                let before = uses.len();
                uses.retain(|(from, to), _| used.contains(from) && users.contains(to));
                if uses.len() == before {
                    break;
                }
            }
            found.extend(uses.into_iter().map(|((from, to), by)| {
                format!("in `{}`: {from} uses {to} (in {by})", around.join("::"))
            }));
        }
        found
    }
}

#[test]
fn modules_side_by_side_have_no_circles() {
    for (name, _) in ORDERS {
        let circles = Crate::named(name).circles();
        assert!(circles.is_empty(), "{name}:\n{}", circles.join("\n"));
    }
}

#[test]
fn rooms_use_only_those_before_them() {
    for (name, order) in ORDERS {
        let found = Crate::named(name);
        let rooms: BTreeSet<&str> =
            found.modules.keys().filter_map(|names| names.first()).map(String::as_str).collect();
        assert_eq!(rooms, order.iter().copied().collect(), "rooms of {name}");
        let place = |room: &String| order.iter().position(|r| r == room);
        let uses = &found.uses()[&Names::new()];
        assert!(uses.len() >= order.len(), "{name}: {uses:?}");
        for ((from, to), by) in uses {
            assert!(place(to) < place(from), "{name}: {by} uses {to}, which comes after {from}");
        }
    }
}

/// A crate of these modules, `lib` the root; the uses that are in a circle.
fn circles_of(sources: &[(&str, &str)]) -> Vec<String> {
    let read = |names: &[String]| {
        let name = if names.is_empty() { "lib".to_owned() } else { names.join("::") };
        let found = sources.iter().find(|(module, _)| *module == name);
        found.unwrap_or_else(|| panic!("{name}")).1.to_owned()
    };
    Crate::of(&read).circles()
}

#[test]
fn every_way_to_name_a_module_is_seen() {
    for back in [
        "use crate::a::X;",
        "pub use crate::{a::{self, X as Z}};",
        "use super::a;",
        "use super::X;",
        "use crate::X;",
        "fn f() { let x = super::a::f(); }",
        "fn f() { vec![crate::a::f()]; }",
        "macro_rules! m { () => { $crate::a::f() }; }",
        "mod inner { use super::super::a::X; }",
    ] {
        let lib = ("lib", "mod a; mod b; pub use a::X;");
        let a = ("a", "use crate::b::Y; pub struct X;");
        let used = format!("{back} pub struct Y;");
        assert_eq!(circles_of(&[lib, a, ("b", &used)]).len(), 2, "{back}");
        let tested = format!("#[cfg(test)] mod tests {{ {back} }}");
        assert_eq!(circles_of(&[lib, a, ("b", &tested)]).len(), 0, "{tested}");
    }
}

#[test]
fn parent_and_child_may_use_each_other() {
    let sources = [
        ("lib", "mod a;"),
        ("a", "mod b; use b::Y; pub struct X;"),
        ("a::b", "use super::X; use crate::a::X as Z; pub struct Y;"),
    ];
    assert_eq!(circles_of(&sources).len(), 0);
}

/// The sources below `folder`, without what only tests use.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("\nmod tests {").next().unwrap_or_default();
            all.push((path, code.to_owned()));
        }
    }
    all
}

#[test]
fn outputs_are_written_in_one_place() {
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host-sim/src");
    let writes = |code: &str| {
        ["fs::write(", "File::create", ".create(true)", "fs::copy(", "fs::rename(", ".persist("]
            .iter()
            .any(|call| code.contains(call))
    };
    let all = sources(&host).into_iter().filter(|(_, code)| writes(code));
    let found: Vec<_> = all.map(|(path, _)| path.strip_prefix(&host).unwrap().to_owned()).collect();
    assert_eq!(found, [Path::new("process/output.rs")]);
}
