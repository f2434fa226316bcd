//! `ripple derive`: what it prints and writes, and what it refuses.

use crate::commands::{fresh, ok, refused, ripple};
use ripple_derive::notation::parse;
use std::fs;

/// The network that `--help` teaches the notation with.
fn taught(folder: &std::path::Path) -> String {
    let help = ok(folder, &["derive", "--help"]);
    let after = help.split("one tensor a line:").nth(1).unwrap();
    let lines = after.lines().skip_while(|line| line.trim().is_empty());
    let lines = lines.take_while(|line| !line.trim().is_empty());
    // Two lines have words behind what is declared.
    let declared = |line: &str| line.split("    ").next().unwrap().trim().to_owned();
    lines.map(|line| declared(line.trim()) + "\n").collect()
}

#[test]
fn the_network_of_the_help_is_derived() {
    let folder = fresh("derive");
    let network = taught(&folder);
    assert!(parse(&network).is_ok(), "{network}");
    fs::write(folder.join("network.txt"), &network).unwrap();
    for board in ["mps2-an386", "mps3-an547"] {
        let out = ok(
            &folder,
            &[
                "derive",
                "network.txt",
                "--board",
                board,
                "-o",
                "plan.txt",
                "--explain",
                "page.html",
            ],
        );
        for part in ["T: ", "0. as given: ", "O: generated operator", "derived  ", "ms, modelled"] {
            assert!(out.contains(part), "{part}:\n{out}");
        }
        let plan = fs::read_to_string(folder.join("plan.txt")).unwrap();
        let read = parse(&plan).unwrap_or_else(|error| panic!("{error}\n{plan}"));
        assert!(read.definitions.len() > 2 && plan.contains("from the card"), "{plan}");
        let page = fs::read_to_string(folder.join("page.html")).unwrap();
        let page = page.split_once("<html").map(|(_, rest)| format!("<html{rest}")).unwrap();
        let page = roxmltree::Document::parse(&page).unwrap();
        let count = |name: &str| page.descendants().filter(|node| node.has_tag_name(name)).count();
        // The whole, and one expression.
        assert_eq!(page.descendants().filter(|n| n.tag_name().name() == "svg").count(), 2);
        assert_eq!(count("script"), 0);
    }
}

#[test]
#[ignore = "slow"]
fn a_kernel_that_saves_multiplications_changes_the_plan() {
    let folder = fresh("derive-kernel");
    let network = "input A[24, 24, 8] pad 2, 2, 0\nweight K[5, 5, 1, 8]\n\
        O[h: 24, w: 24, f: 1] = \
        sum c: 8, r: 5, s: 5 . A[h + r - 2, w + s - 2, c] * K[r, s, f, c]\n";
    fs::write(folder.join("network.txt"), network).unwrap();
    let with = |kernel: &str| {
        let line = ["derive", "network.txt", "--board", "mps2-an386", "--kernel", kernel];
        ok(&folder, &line)
    };
    assert!(!with("3x3=1").contains("O: conv 3x3, 4 filters"));
    let accepted = with("3x3=0.2");
    assert!(accepted.contains("O: conv 3x3, 4 filters"), "{accepted}");
}

#[test]
fn what_is_not_understood_or_does_not_fit_is_refused() {
    let folder = fresh("derive-refused");
    fs::write(folder.join("wrong.txt"), "input A[4]\nO[i: 4] = A[j]\n").unwrap();
    let error = refused(&folder, &["derive", "wrong.txt", "--board", "mps2-an386"]);
    let expected =
        "error: wrong.txt: line 2, column 13: expected an iterator of this line, found `j]`\n";
    assert_eq!(error, expected);
    let status = |args: &[&str]| ripple(&folder, args).output().unwrap().status.code();
    assert_eq!(status(&["derive", "wrong.txt", "--board", "mps2-an386"]), Some(3));

    let error = refused(&folder, &["derive", "absent.onnx", "--board", "mps2-an386"]);
    assert_eq!(error, "error: absent.onnx: no such file\n");
    fs::write(folder.join("wrong.onnx"), b"no such file").unwrap();
    let error = refused(&folder, &["derive", "wrong.onnx", "--board", "mps2-an386"]);
    assert!(error.starts_with("error: wrong.onnx: not an ONNX file: "), "{error}");
    let large = "input A[1000, 64]\nweight W[64, 64]\n\
        O[p: 1000, i: 64] = sum c: 64 . A[p, c] * W[i, c]\n";
    fs::write(folder.join("large.txt"), large).unwrap();
    let error = refused(&folder, &["derive", "large.txt", "--board", "lm3s6965evb"]);
    assert!(error.starts_with("error: large.txt: O of [1000, 64] needs "), "{error}");
    assert_eq!(status(&["derive", "large.txt", "--board", "lm3s6965evb"]), Some(1));

    let error = refused(&folder, &["derive", "large.txt", "--board", "raspi3b"]);
    assert!(
        error.contains("board raspi3b: no loop was counted on its core, cortex-a53"),
        "{error}"
    );
}

/// The bytes of a NumPy array of 8-bit numbers.
fn array(shape: &str, numbers: &[i8]) -> Vec<u8> {
    let header = format!("{{'descr': '|i1', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(numbers.iter().map(|&x| x as u8));
    bytes
}

#[test]
fn a_program_is_written_and_runs() {
    let folder = fresh("derive-program");
    let network = "input A[4, 4]\nweight K[3, 4]\n\
        O[h: 4, f: 3] = sum c: 4 . A[h, c] * K[f, c]\n";
    fs::write(folder.join("network.txt"), network).unwrap();
    let line = ["derive", "network.txt", "--board", "mps2-an386", "-o", "network.plan"];
    let error = refused(&folder, &line);
    assert!(error.contains("a text has no weights; --random SEED takes random ones"), "{error}");
    let out = ok(&folder, &[&line[..], &["--random", "1"]].concat());
    assert!(out.contains("network.plan: 1 reads, "), "{out}");

    let numbers: Vec<i8> = (0..16).map(|x| x - 8).collect();
    fs::write(folder.join("x.npy"), array("4, 4", &numbers)).unwrap();
    fs::write(folder.join("wide.npy"), array("2, 8", &numbers)).unwrap();
    let run = ["program", "network.plan", "--input"];
    let out = ok(&folder, &[&run[..], &["x.npy", "-o", "y.npy"]].concat());
    for part in ["[4, 3]", "reads", "of it staging", "ms, simulated", "ms, measured"] {
        assert!(out.contains(part), "{part}:\n{out}");
    }
    let y = fs::read(folder.join("y.npy")).unwrap();
    assert!(y.starts_with(b"\x93NUMPY") && y.len() == 128 + 4 * 12, "{}", y.len());
    let error = refused(&folder, &[&run[..], &["wide.npy"]].concat());
    assert!(error.contains("wide.npy: expected an array of [4, 4], found [2, 8]"), "{error}");
    let error = refused(&folder, &[&run[..], &["network.txt"]].concat());
    assert!(error.contains("expected a NumPy array (.npy), found other bytes"), "{error}");
    let error = refused(&folder, &["program", "x.npy", "--input", "x.npy"]);
    assert!(error.contains("not a program: it begins with"), "{error}");
}
