//! What `-o` leaves of what is there: links, devices, FIFOs, permissions.

use assert_cmd::Command;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::process::geteuid;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/story-nano");

fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outputs").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn ripple(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripple"));
    command.current_dir(folder).args(line.split_whitespace()).env("RUST_BACKTRACE", "0");
    command
}

/// What each stage needs to write its file, made once; `{}` stands for the file.
fn stages() -> &'static [(String, Vec<u8>)] {
    static STAGES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    STAGES.get_or_init(|| {
        let made = fresh("made");
        let shown = made.display();
        let lines = [
            (format!("import {MODEL} -o {{}}"), "m"),
            (format!("trace {shown}/m --text {MODEL}/profile.txt --tokens 64 -o {{}}"), "t"),
            (format!("place {shown}/t -o {{}} --page-mib 0"), "p"),
            (format!("pack {shown}/m --placement {shown}/p -o {{}}"), "i"),
            (format!("card {shown}/i --size-mib 64 --yes -o {{}}"), "c"),
        ];
        let run = |(line, name): (String, &str)| {
            let file = made.join(name);
            ripple(&made, &line.replace("{}", &file.display().to_string())).assert().success();
            (line, fs::read(file).unwrap())
        };
        lines.map(run).into()
    })
}

#[test]
fn a_link_stays_and_what_it_leads_to_is_replaced() {
    let folder = fresh("link");
    fs::create_dir(folder.join("far")).unwrap();
    symlink("far/near", folder.join("link")).unwrap();
    symlink("file", folder.join("far/near")).unwrap();
    for (line, expected) in stages() {
        // There is no file behind the links, then there is.
        let _ = fs::remove_file(folder.join("far/file"));
        for _ in 0..2 {
            ripple(&folder, &line.replace("{}", "link")).assert().success();
            assert_eq!(
                fs::read_link(folder.join("link")).unwrap(),
                Path::new("far/near"),
                "{line}"
            );
            assert_eq!(fs::read_link(folder.join("far/near")).unwrap(), Path::new("file"));
            assert!(fs::read(folder.join("far/file")).unwrap() == *expected, "{line}");
        }
    }
    symlink("circle", folder.join("circle")).unwrap();
    symlink("nowhere/file", folder.join("broken")).unwrap();
    for (name, says) in [("circle", "circle"), ("broken", "nowhere`; make it first")] {
        let line = stages()[0].0.replace("{}", name);
        let error = ripple(&folder, &line).assert().failure().get_output().stderr.clone();
        assert!(String::from_utf8(error).unwrap().contains(says), "{name}");
        assert!(folder.join(name).is_symlink());
    }
}

#[test]
fn a_fifo_gets_the_bytes_and_stays_one() {
    let folder = fresh("fifo");
    let fifo = folder.join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    for (line, expected) in &stages()[..4] {
        let path = fifo.clone();
        let reader = std::thread::spawn(move || {
            let mut found = Vec::new();
            File::open(path).unwrap().read_to_end(&mut found).unwrap();
            found
        });
        ripple(&folder, &line.replace("{}", "fifo")).assert().success();
        assert!(reader.join().unwrap() == *expected, "{line}");
        assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo(), "{line}");
    }
    // A card is not written from front to back.
    let line = stages()[4].0.replace("{}", "fifo");
    let error = ripple(&folder, &line).assert().failure().get_output().stderr.clone();
    assert!(String::from_utf8(error).unwrap().contains("expected a file or a block device"));
    assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
}

#[test]
fn a_character_device_stays_one() {
    let folder = fresh("null");
    // Who can replace the system's own has one made for this test.
    let null = if geteuid().is_root() {
        let null = folder.join("null");
        mknodat(CWD, &null, FileType::CharacterDevice, Mode::RWXU, makedev(1, 3)).unwrap();
        null
    } else {
        PathBuf::from("/dev/null")
    };
    for (line, _) in &stages()[..4] {
        ripple(&folder, &line.replace("{}", null.to_str().unwrap())).assert().success();
        assert!(fs::symlink_metadata(&null).unwrap().file_type().is_char_device(), "{line}");
    }
}

#[test]
fn standard_output_by_its_name_gets_the_bytes() {
    let (line, expected) = &stages()[3];
    let output = ripple(&fresh("stdout"), &line.replace("{}", "/dev/stdout")).assert().success();
    assert!(output.get_output().stdout == *expected);
}

#[test]
fn a_saved_session_goes_where_a_link_leads() {
    let folder = fresh("session");
    fs::write(folder.join("image"), &stages()[3].1).unwrap();
    symlink("file", folder.join("link")).unwrap();
    let mut command = ripple(&folder, "run image --interactive -n 1");
    command.write_stdin("One\n/save link\n/load file\n").assert().success();
    assert!(folder.join("link").is_symlink());
}

#[test]
fn permissions_are_those_of_the_file_before_or_of_any_new_file() {
    let folder = fresh("mode");
    let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
    let line = &stages()[3].0;
    for (umask, expected) in [("077", 0o600), ("027", 0o640), ("002", 0o664)] {
        let ripple = env!("CARGO_BIN_EXE_ripple");
        let script = format!("umask {umask}; exec {ripple} {}", line.replace("{}", umask));
        let mut shell = Command::new("sh");
        shell.current_dir(&folder).args(["-c", &script]).assert().success();
        assert_eq!(mode(umask), expected, "umask {umask}");
    }
    fs::set_permissions(folder.join("077"), Permissions::from_mode(0o604)).unwrap();
    ripple(&folder, &line.replace("{}", "077")).assert().success();
    assert_eq!(mode("077"), 0o604);
    // Whoever may not write it, or made it so, is asked to take it away first.
    fs::set_permissions(folder.join("027"), Permissions::from_mode(0o444)).unwrap();
    let before = fs::read(folder.join("027")).unwrap();
    let refused = ripple(&folder, &stages()[0].0.replace("{}", "027")).assert().failure();
    let error = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(error.contains("write-protected"), "{error}");
    assert!(fs::read(folder.join("027")).unwrap() == before && mode("027") == 0o444);
}

#[test]
fn a_socket_is_refused() {
    let folder = fresh("socket");
    let socket = folder.join("s");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let refused = ripple(&folder, &stages()[0].0.replace("{}", "s")).assert().failure();
    let error = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(error.contains("expected a file, found a block device or a socket"), "{error}");
    assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
}
