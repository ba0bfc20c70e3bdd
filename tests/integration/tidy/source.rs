//! The source as a graph: which file uses an item of which other file.
//!
//! Paths are read from the syntax tree and resolved as the compiler does: through `use`, `super`,
//! child modules and re-exports, to the file that defines the item. Neither `mod` nor a re-export is a
//! use. Calls of methods do not name a file, so they do not count; nor do tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, Macro, Meta, UseTree, Visibility};

/// How many re-exports may lead to an item.
const HOPS_MAX: usize = 8;

/// A module of the program, without its tests.
#[derive(Default)]
pub(super) struct Module {
    /// Its file, below `src`.
    pub(super) file: PathBuf,
    /// Types that other files can name.
    pub(super) public_types: Vec<String>,
    /// Errors that are texts, as they are written: `Result<_, String>` and the like.
    pub(super) text_errors: Vec<String>,
    items: BTreeSet<String>,
    /// Names that `use` brings in, and the paths behind them.
    imports: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    /// Every path in the code, private `use` included.
    paths: Vec<Vec<String>>,
}

/// That the code of one file names an item of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Use {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
    /// As it is written.
    pub(super) path: String,
}

/// All modules of the library and the programs, by their paths: `worker::answer`; the root is empty.
pub(super) struct Source(BTreeMap<String, Module>);

impl Source {
    /// Reads the files of the library and the programs.
    pub(super) fn read(src: &Path) -> Self {
        let mut source = Source(BTreeMap::new());
        source.read_file(src, Path::new("lib.rs"), "", Path::new(""));
        for program in files(&src.join("bin")) {
            let name = program.file_stem().expect("a name").to_str().expect("UTF-8").replace('-', "_");
            let file = Path::new("bin").join(program.file_name().expect("a name"));
            source.read_file(src, &file, &format!("bin::{name}"), Path::new("bin"));
        }
        source
    }

    /// `children` is the folder of the files of child modules.
    fn read_file(&mut self, src: &Path, file: &Path, module: &str, children: &Path) {
        let text = fs::read_to_string(src.join(file)).expect("a source in UTF-8");
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.read_items(src, file, module, children, &parsed.items);
    }

    fn read_items(&mut self, src: &Path, file: &Path, module: &str, children: &Path, items: &[Item]) {
        let mut reader = Reader { module: Module { file: file.to_owned(), ..Module::default() } };
        for item in items.iter().filter(|item| !is_test(attributes(item))) {
            if let Item::Mod(child) = item {
                // A file that is a program by itself is read as such.
                if child.attrs.iter().any(|attribute| attribute.path().is_ident("path")) {
                    continue;
                }
                let name = child.ident.to_string();
                let (path, folder) = (joined(module, &name), children.join(&name));
                match &child.content {
                    Some((_, items)) => self.read_items(src, file, &path, &folder, items),
                    None => {
                        let beside = children.join(&name).with_extension("rs");
                        let file = if src.join(&beside).exists() { beside } else { folder.join("mod.rs") };
                        self.read_file(src, &file, &path, &folder);
                    }
                }
            } else {
                reader.define(item);
                reader.visit_item(item);
            }
        }
        self.0.insert(module.to_owned(), reader.module);
    }

    pub(super) fn modules(&self) -> impl Iterator<Item = &Module> {
        self.0.values()
    }

    /// Returns the uses between the files.
    pub(super) fn uses(&self) -> BTreeSet<Use> {
        let mut uses = BTreeSet::new();
        for (name, module) in &self.0 {
            for path in &module.paths {
                let Some(to) = self.resolved(name, path, HOPS_MAX).map(|to| self.0[&to].file.clone()) else {
                    continue;
                };
                if to != module.file {
                    uses.insert(Use { from: module.file.clone(), to, path: path.join("::") });
                }
            }
        }
        uses
    }

    /// The module that defines the item at `path`, as the module `from` names it; `None` for other crates'
    /// items and local names.
    fn resolved(&self, from: &str, path: &[String], hops: usize) -> Option<String> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" if from.starts_with("bin::") => self.walked(&program(from), rest, hops),
            "crate" | "avalon" => self.walked("", rest, hops),
            "self" => self.walked(from, rest, hops),
            "super" => {
                let parent = from.rsplit_once("::").map_or("", |(parent, _)| parent);
                match rest.first().is_some_and(|next| next == "super") {
                    true => self.resolved(parent, rest, hops),
                    false => self.walked(parent, rest, hops),
                }
            }
            // A variable may have the name of a module.
            name if rest.is_empty() && self.0.contains_key(&joined(from, name)) => None,
            _ => self.walked(from, path, hops),
        }
    }

    /// The module that defines the item at `path` below the module `at`.
    fn walked(&self, at: &str, path: &[String], hops: usize) -> Option<String> {
        let Some((first, rest)) = path.split_first() else { return Some(at.to_owned()) };
        let child = joined(at, first);
        if self.0.contains_key(&child) {
            return self.walked(&child, rest, hops);
        }
        let module = &self.0[at];
        if module.items.contains(first) {
            return Some(at.to_owned());
        }
        let hops = hops.checked_sub(1)?;
        if let Some(import) = module.imports.get(first).filter(|import| import[..] != path[..]) {
            let whole: Vec<String> = import.iter().chain(rest).cloned().collect();
            return self.resolved(at, &whole, hops);
        }
        module.globs.iter().find_map(|glob| {
            let whole: Vec<String> = glob.iter().chain(path).cloned().collect();
            self.resolved(at, &whole, hops)
        })
    }
}

/// Collects the definitions and names of a module.
struct Reader {
    module: Module,
}

impl Reader {
    fn define(&mut self, item: &Item) {
        let (name, visibility) = match item {
            Item::Const(item) => (&item.ident, None),
            Item::Static(item) => (&item.ident, None),
            Item::Fn(item) => (&item.sig.ident, None),
            Item::Macro(item) if item.ident.is_some() => (item.ident.as_ref().expect("a name"), None),
            Item::Enum(item) => (&item.ident, Some(&item.vis)),
            Item::Struct(item) => (&item.ident, Some(&item.vis)),
            Item::Trait(item) => (&item.ident, Some(&item.vis)),
            Item::Type(item) => (&item.ident, Some(&item.vis)),
            _ => return,
        };
        self.module.items.insert(name.to_string());
        if visibility.is_some_and(|visibility| !matches!(visibility, Visibility::Inherited)) {
            self.module.public_types.push(name.to_string());
        }
    }

    fn read_use(&mut self, tree: &UseTree, before: &[String], is_export: bool) {
        let with =
            |name: &syn::Ident| -> Vec<String> { before.iter().cloned().chain([name.to_string()]).collect() };
        let (name, path) = match tree {
            UseTree::Path(path) => return self.read_use(&path.tree, &with(&path.ident), is_export),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.read_use(tree, before, is_export));
            }
            UseTree::Glob(_) => {
                self.module.paths.extend((!is_export).then(|| before.to_vec()));
                return self.module.globs.push(before.to_vec());
            }
            UseTree::Name(name) if name.ident == "self" => {
                (before.last().cloned().unwrap_or_default(), before.to_vec())
            }
            UseTree::Name(name) => (name.ident.to_string(), with(&name.ident)),
            UseTree::Rename(rename) => (rename.rename.to_string(), with(&rename.ident)),
        };
        self.module.paths.extend((!is_export).then(|| path.clone()));
        self.module.imports.insert(name, path);
    }

    /// Reads macros by their words: a word that looks like a path counts as one.
    fn read_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.take_path(&mut path);
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                _ => {
                    self.take_path(&mut path);
                    colons = 0;
                }
            }
            if let TokenTree::Group(group) = token {
                self.read_tokens(group.stream());
            }
        }
        self.take_path(&mut path);
    }

    fn take_path(&mut self, path: &mut Vec<String>) {
        let path = std::mem::take(path);
        // A single word is a keyword, a variable or an import, which is known.
        if path.len() > 1 {
            self.module.paths.push(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_export = !matches!(item.vis, Visibility::Inherited);
        self.read_use(&item.tree, &[], is_export);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.module.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_type_path(&mut self, of: &'ast syn::TypePath) {
        self.module.text_errors.extend(text_error(&of.path).map(str::to_owned));
        visit::visit_type_path(self, of);
    }

    fn visit_impl_item_type(&mut self, item: &'ast syn::ImplItemType) {
        if ["Err", "Error"].iter().any(|name| item.ident == name) && is_text(&item.ty) {
            self.module.text_errors.push(format!("type {} = String", item.ident));
        }
        visit::visit_impl_item_type(self, item);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "map_err" && call.args.first().is_some_and(makes_text) {
            self.module.text_errors.push("map_err to a text".to_owned());
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, of: &'ast Macro) {
        self.visit_path(&of.path);
        self.read_tokens(of.tokens.clone());
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes = match item {
            syn::ImplItem::Fn(item) => &item.attrs,
            syn::ImplItem::Const(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if !is_test(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}
}

/// The result that `path` names, if its error is a text.
fn text_error(path: &syn::Path) -> Option<&'static str> {
    let last = path.segments.last().filter(|last| last.ident == "Result")?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.iter().nth(1)? {
        syn::GenericArgument::Type(error) if is_text(error) => Some("Result<_, String>"),
        _ => None,
    }
}

fn is_text(of: &syn::Type) -> bool {
    match of {
        syn::Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "String"),
        syn::Type::Reference(reference) => {
            matches!(&*reference.elem, syn::Type::Path(path) if path.path.is_ident("str"))
        }
        _ => false,
    }
}

/// Whether a function that makes an error of another one makes a text.
fn makes_text(function: &syn::Expr) -> bool {
    match function {
        syn::Expr::Closure(closure) => match &*closure.body {
            syn::Expr::MethodCall(call) => ["to_string", "to_owned"].iter().any(|name| call.method == name),
            syn::Expr::Macro(of) => of.mac.path.is_ident("format"),
            _ => false,
        },
        syn::Expr::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "to_string"),
        _ => false,
    }
}

/// All files of Rust code in a folder.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn joined(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

/// The root module of the program that `module` belongs to.
fn program(module: &str) -> String {
    module.splitn(3, "::").take(2).collect::<Vec<_>>().join("::")
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string() == "test",
        meta => meta.path().is_ident("test"),
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
