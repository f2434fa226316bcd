//! Which modules of a crate use which.
//!
//! In: the sources. Of `crate::`, `super::`, `self::`, re-exports, groups and what macros name, each is
//! resolved to the module that has the item. Out: [`Crate`]. What only tests use does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};
use syn::{Attribute, ItemFn, ItemImpl, ItemMod, ItemUse, Macro, UseTree};

/// Names from the root of the crate to a module, or to an item.
pub type Names = Vec<String>;

/// What one module says of others.
#[derive(Default)]
pub struct Module {
    /// Names that are brought into it, and the path behind each.
    imports: BTreeMap<String, Names>,
    /// Paths that it names.
    paths: BTreeSet<Names>,
}

/// The modules of one crate.
#[derive(Default)]
pub struct Crate {
    pub modules: BTreeMap<Names, Module>,
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
    pub fn of(read: &dyn Fn(&[String]) -> String) -> Self {
        let mut reader = Reader { read, at: Names::new(), out: Self::default() };
        reader.file();
        reader.out
    }

    pub fn named(name: &str) -> Self {
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
    pub fn uses(&self) -> BTreeMap<Names, BTreeMap<(String, String), String>> {
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
    pub fn circles(&self) -> Vec<String> {
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
