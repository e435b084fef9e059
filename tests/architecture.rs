//! Holds the code to the tables of `ARCHITECTURE.md`: who may import whom, which name may stand
//! where, and how long a file and a function may be.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[path = "architecture/source.rs"]
mod source;

use source::{Language, Source};

/// Lines of code of a file, its tests not counted.
const FILE_LINES: usize = 600;
/// Lines of code of a function's body.
const FUNCTION_LINES: usize = 80;

#[test]
fn every_module_has_a_row_in_the_table_and_every_row_a_module() {
    let map = Map::read();
    let rust = rust_files();
    let modules: BTreeSet<&str> =
        rust.iter().map(|f| f.module.as_str()).filter(|m| *m != "lib").collect();
    let rows: BTreeSet<&str> = map.rows.keys().map(|r| r.split('/').next().unwrap()).collect();
    assert_eq!(rows, modules, "left: rows of ARCHITECTURE.md, right: modules under src/");
    for row in map.rows.keys().filter(|row| row.contains('/')) {
        assert!(root().join("src").join(row).exists(), "{row} has a row but is not there");
    }
}

#[test]
fn a_module_imports_only_what_its_row_names() {
    let map = Map::read();
    let mut wrong = Vec::new();
    for file in rust_files().iter().filter(|f| f.module != "lib") {
        let allowed = map.allowed(file);
        for import in file.imports() {
            let inside = import[0] == file.module;
            let named = allowed.iter().any(|a| import.starts_with(a));
            if !inside && !named {
                wrong.push(format!("{} imports {}", file.name, import.join("::")));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_module_imports_its_importer() {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in rust_files().iter().filter(|f| f.module != "lib") {
        let to = edges.entry(file.module.clone()).or_default();
        to.extend(file.imports().into_iter().map(|i| i[0].clone()).filter(|m| *m != file.module));
    }
    assert_eq!(circle(&edges), None);
}

#[test]
fn a_name_stands_only_where_the_table_says() {
    let map = Map::read();
    assert!(map.walls.len() > 10, "the table of names is missing");
    let mut wrong = Vec::new();
    for file in &rust_files() {
        for (name, places) in &map.walls {
            let home = places.iter().any(|p| *p == file.module || *p == file.name);
            if !home && let Some(line) = file.source.line_with(name) {
                wrong.push(format!("{}:{line} names {name}", file.name));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_file_and_no_function_is_too_long() {
    let mut wrong = Vec::new();
    for file in rust_files().iter().chain(&web_files()) {
        let lines = file.source.code_lines();
        if lines > FILE_LINES {
            wrong.push(format!("{}: {lines} lines of code", file.name));
        }
        for (function, line, lines) in file.source.functions() {
            if lines > FUNCTION_LINES {
                wrong.push(format!("{}:{line}: {function} has {lines} lines", file.name));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_sdk_does_not_know_the_page_and_the_page_only_its_front() {
    let mut wrong = Vec::new();
    for file in &web_files() {
        for import in file.source.module_specifiers() {
            let sdk = file.name.starts_with("sdk/");
            let outward = !import.starts_with("./") && sdk;
            let inward = import.contains("sdk/") && !import.ends_with("/fanlight.js") && !sdk;
            if outward || inward {
                wrong.push(format!("web/{} imports {import}", file.name));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// What `ARCHITECTURE.md` says.
struct Map {
    /// Module, or file of one → paths that it may import.
    rows: BTreeMap<String, Vec<Vec<String>>>,
    /// A name → the modules or files in which alone it may stand.
    walls: Vec<(String, Vec<String>)>,
}

impl Map {
    fn read() -> Self {
        let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
        let table = |head: &str| -> Vec<Vec<String>> {
            text.lines()
                .skip_while(|line| !line.starts_with(head))
                .skip(2)
                .take_while(|line| line.starts_with('|'))
                .map(|line| line.trim_matches('|').split('|').map(|c| c.trim().into()).collect())
                .collect()
        };
        let rings = table("| Ring | Module |");
        assert!(!rings.is_empty(), "the table of rings is missing");
        let ring_0 = rings.iter().filter(|row| row[0] == "0").flat_map(|row| ticked(&row[1]));
        let ring_0: Vec<String> = ring_0.collect();
        let mut rows = BTreeMap::new();
        for row in &rings {
            let mut allowed = ticked(&row[3]);
            if row[3].contains("ring 0") {
                allowed.extend(ring_0.iter().cloned());
            }
            let paths = allowed.iter().map(|p| p.split("::").map(String::from).collect());
            rows.insert(ticked(&row[1]).remove(0), paths.collect());
        }
        let walls = table("| Name | Only in |");
        let walls = walls.iter().flat_map(|row| {
            ticked(&row[0]).into_iter().map(|name| (name, ticked(&row[1]))).collect::<Vec<_>>()
        });
        Self { rows, walls: walls.collect() }
    }

    fn allowed(&self, file: &File) -> Vec<Vec<String>> {
        let rows = [&file.module, &file.name].into_iter().filter_map(|key| self.rows.get(key));
        rows.flatten().cloned().collect()
    }
}

/// The words in backticks.
fn ticked(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(String::from).collect()
}

/// One file of `src/` or `web/`.
struct File {
    /// Path below `src/` or `web/`.
    name: String,
    /// Its module at the top of the crate.
    module: String,
    source: Source,
}

impl File {
    fn imports(&self) -> Vec<Vec<String>> {
        let stem = self.name.trim_end_matches(".rs").trim_end_matches("/mod");
        self.source.imports(&stem.split('/').collect::<Vec<_>>())
    }
}

fn rust_files() -> Vec<File> {
    let files = files(&root().join("src"), "rs", Language::Rust);
    assert!(files.len() > 10, "src/ was not found");
    files.into_iter().filter(|f| !f.name.split('/').any(|p| p.starts_with("tests"))).collect()
}

fn web_files() -> Vec<File> {
    let files = files(&root().join("web"), "js", Language::JavaScript);
    files.into_iter().filter(|f| !f.name.split('/').any(|p| p == "vendor")).collect()
}

fn files(base: &Path, extension: &str, language: Language) -> Vec<File> {
    let mut folders = vec![base.to_path_buf()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                let name = path.strip_prefix(base).unwrap().to_str().unwrap().to_string();
                let module = name.split(['/', '.']).next().unwrap().to_string();
                let source = Source::new(&fs::read_to_string(&path).unwrap(), language);
                found.push(File { name, module, source });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// A way from a module back to itself.
fn circle(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    for start in edges.keys() {
        let mut ways = vec![vec![start]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            for next in edges.get(*way.last().unwrap()).into_iter().flatten() {
                if next == start {
                    let way: Vec<&str> = way.iter().map(|m| m.as_str()).collect();
                    return Some(format!("{} → {start}", way.join(" → ")));
                }
                if seen.insert(next) {
                    ways.push(way.iter().copied().chain([next]).collect());
                }
            }
        }
    }
    None
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_circle_is_found() {
    let edge = |from: &str, to: &str| (from.to_string(), BTreeSet::from([to.to_string()]));
    let edges = BTreeMap::from([edge("a", "b"), edge("b", "c"), edge("c", "a")]);
    assert_eq!(circle(&edges).as_deref(), Some("a → b → c → a"));
    assert_eq!(circle(&BTreeMap::from([edge("a", "b"), edge("b", "c")])), None);
}
