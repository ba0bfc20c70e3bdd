//! Pages in Markdown, as far as the tests read them: blocks, names in code font, tables, links.

use std::fs;
use std::path::{Path, PathBuf};

use super::ROOT;

/// A block of code.
#[derive(Debug)]
pub(crate) struct Block {
    /// The words behind the fence; `None` for an indented block.
    pub(crate) info: Option<String>,
    pub(crate) lines: Vec<String>,
}

pub(crate) struct Page {
    /// Its path below the project's folder.
    pub(crate) name: String,
    pub(crate) blocks: Vec<Block>,
    /// The lines outside of blocks.
    pub(crate) prose: String,
}

/// All pages for readers: those in the project's folder and below `docs`.
pub(crate) fn pages() -> Vec<Page> {
    let mut files = Vec::new();
    collect(Path::new(ROOT), false, &mut files);
    collect(&Path::new(ROOT).join("docs"), true, &mut files);
    assert!(files.len() > 40, "{files:?}");
    files.sort();
    files.iter().map(|file| page(file)).collect()
}

fn collect(folder: &Path, is_deep: bool, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && is_deep {
            collect(&path, is_deep, files);
        } else if path.extension().is_some_and(|end| end == "md") {
            files.push(path);
        }
    }
}

fn page(file: &Path) -> Page {
    let name = file.strip_prefix(ROOT).expect("a file of the project").display().to_string();
    let text = fs::read_to_string(file).expect("a page in UTF-8");
    let (mut blocks, mut prose): (Vec<Block>, String) = (Vec::new(), String::new());
    let (mut fence, mut is_after_blank, mut is_indented) = (None, true, false);
    for line in text.lines() {
        let rest = line.trim_start();
        if let (None, Some(info)) = (fence, rest.strip_prefix("```")) {
            fence = Some(line.len() - rest.len());
            blocks.push(Block { info: Some(info.trim().to_owned()), lines: Vec::new() });
        } else if let Some(margin) = fence {
            if rest.starts_with("```") {
                fence = None;
            } else {
                let block = blocks.last_mut().expect("the block that has begun");
                block.lines.push(line.get(margin..).unwrap_or_default().to_owned());
            }
        } else if let (true, Some(code)) = (is_after_blank || is_indented, line.strip_prefix("    ")) {
            if !is_indented {
                blocks.push(Block { info: None, lines: Vec::new() });
            }
            blocks.last_mut().expect("the block that has begun").lines.push(code.to_owned());
            is_indented = true;
            continue;
        } else {
            prose.extend([line, "\n"]);
        }
        is_after_blank = line.is_empty();
        is_indented = false;
    }
    Page { name, blocks, prose }
}

impl Page {
    pub(crate) fn named(name: &str) -> Page {
        page(&Path::new(ROOT).join(name))
    }

    /// The texts in code font, apart from blocks.
    pub(crate) fn quoted(&self) -> impl Iterator<Item = &str> {
        self.prose.split('`').skip(1).step_by(2)
    }

    /// The first cells of the table below `heading` whose head begins with `first`.
    pub(crate) fn first_cells(&self, heading: &str, first: &str) -> Vec<&str> {
        let (_, section) = self.prose.split_once(&format!("\n{heading}\n")).expect(heading);
        let section = section.split("\n## ").next().unwrap_or_default();
        let (_, rows) = section.split_once(&format!("| {first} |")).expect(first);
        let rows = rows.lines().skip(2).take_while(|line| line.starts_with('|'));
        rows.map(|row| row.split('|').nth(1).unwrap_or_default().trim()).collect()
    }

    /// The targets of links and pictures.
    pub(crate) fn links(&self) -> impl Iterator<Item = &str> {
        self.prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0))
    }

    /// The anchors of its headings, as GitHub makes them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let titles = self.prose.lines().filter(|line| line.starts_with('#'));
        titles.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
    }
}

fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The sources of a module of the tests, all in one.
pub(crate) fn module(tests: &Path, name: &str) -> String {
    fn read(path: &Path) -> String {
        if !path.is_dir() {
            return fs::read_to_string(path).unwrap_or_default();
        }
        let entries = fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries
            .filter(|entry| entry.is_dir() || entry.extension().is_some_and(|end| end == "rs"))
            .map(|entry| read(&entry))
            .collect()
    }
    let source = read(&tests.join(format!("{name}.rs"))) + &read(&tests.join(name));
    assert!(!source.is_empty(), "there are no tests {name}");
    source
}

#[test]
fn blocks_prose_links_and_anchors_are_found() {
    let folder = tempfile::tempdir_in(Path::new(ROOT).join("target")).expect("a folder");
    let file = folder.path().join("page.md");
    let text = "# A `b` c: D-e\n\nSee [x](y.md#z).\n\n    one\n    two\n\n- item\n  more\n\n  ```sh not-run\n  three\n  ```\n";
    fs::write(&file, text).expect("a file");
    let page = page(&file);
    let blocks: Vec<(Option<&str>, usize)> =
        page.blocks.iter().map(|block| (block.info.as_deref(), block.lines.len())).collect();
    assert_eq!(blocks, [(None, 2), (Some("sh not-run"), 1)]);
    assert_eq!(page.blocks[1].lines, ["three"]);
    assert_eq!(page.links().collect::<Vec<_>>(), ["y.md#z"]);
    assert_eq!(page.anchors(), ["a-b-c-d-e"]);
    assert_eq!(page.quoted().collect::<Vec<_>>(), ["b"]);
}
