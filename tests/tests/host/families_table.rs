//! The table of families: whose cells each column's test writes, and holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Tests of several columns may write at once.
static WRITING: Mutex<()> = Mutex::new(());

/// Where the checkpoints are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("families")
}

/// The table, a line a row, each in cells; the first is the head.
fn rows(document: &str) -> Vec<Vec<String>> {
    let lines = document.lines().filter(|line| line.starts_with('|'));
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim_start_matches('|').trim_end_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    lines.map(cells).filter(|row| !row[0].starts_with("---")).collect()
}

/// The families that have a row.
pub fn families() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("FAMILIES.md");
    let guard = WRITING.lock().unwrap();
    let document = fs::read_to_string(path).unwrap();
    drop(guard);
    rows(&document).into_iter().skip(1).map(|row| row[0].clone()).collect()
}

/// Asserts that `column` of `FAMILIES.md` has these cells, by family, and `-` in the rows of the others.
/// `RIPPLE_UPDATE=1` writes them there, a row more for a family that is new.
pub fn hold(column: &str, cells: &BTreeMap<String, String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("FAMILIES.md");
    let guard = WRITING.lock().unwrap();
    let document = fs::read_to_string(&path).unwrap();
    let mut table = rows(&document);
    let at = table[0].iter().position(|name| name == column);
    let at = at.unwrap_or_else(|| panic!("FAMILIES.md has no column {column}"));
    let expected = |family: &str| cells.get(family).map_or("-", String::as_str).to_owned();
    if std::env::var_os("RIPPLE_UPDATE").is_none() {
        drop(guard);
        for row in &table[1..] {
            assert_eq!(row[at], expected(&row[0]), "{}, {column}", row[0]);
        }
        let missing = cells.keys().find(|family| !table[1..].iter().any(|row| row[0] == **family));
        assert_eq!(missing, None, "a family without a row in FAMILIES.md");
        return;
    }
    for family in cells.keys() {
        if !table[1..].iter().any(|row| row[0] == *family) {
            let mut row = vec!["-".to_owned(); table[0].len()];
            row[0].clone_from(family);
            table.push(row);
        }
    }
    let mut out: Vec<String> =
        document.lines().take_while(|line| !line.starts_with('|')).map(str::to_owned).collect();
    for (i, row) in table.iter_mut().enumerate() {
        if i > 0 {
            row[at] = expected(&row[0]);
        }
        out.push(format!("| {} |", row.join(" | ")));
        if i == 0 {
            out.push("|---".repeat(row.len()) + "|");
        }
    }
    fs::write(path, out.join("\n") + "\n").unwrap();
}
