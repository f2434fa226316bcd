//! `--device`: an image on a real file, by this machine's clock.

use crate::commands::{fresh, ok, pipeline, refused, ripple, says};
use serde_json::Value;
use std::path::{Path, PathBuf};

const PROMPT: &str = "One day, a little girl went to the park with her mom.";

/// The image, on a disk and in memory where the system has a place for that.
fn places(name: &str) -> Vec<PathBuf> {
    let image = pipeline().join("story.image");
    let memory = Path::new("/dev/shm").join(format!("ripple-{name}-{}", std::process::id()));
    let mut places = vec![fresh(name)];
    places.extend(std::fs::create_dir_all(&memory).ok().map(|()| memory));
    for place in &places {
        std::fs::copy(&image, place.join("story.image")).unwrap();
    }
    places
}

fn json(folder: &Path, args: &[&str]) -> Value {
    let line = [&["run"], args, &["--prompt", PROMPT, "-n", "24", "--json"]].concat();
    serde_json::from_str(&ok(folder, &line)).unwrap()
}

#[test]
fn the_text_and_the_bytes_are_those_of_a_simulated_run() {
    let same = ["--gap", "3", "--staging", "64"];
    for (at, folder) in places("device-text").into_iter().enumerate() {
        let all = [
            &["--map", "dense", "--cache", "0.1"][..],
            &["--map", "none", "--cache", "0"],
            &["--map", "40000", "--cache", "0.3", "--hot-permille", "0", "--kv", "q8"],
            &["--map", "all", "--batch", "1", "--speculate", "0"],
        ];
        // In memory the first alone: that its reads are others' is all that differs.
        for (more, first) in all.into_iter().zip([true, false, false, false]) {
            if at > 0 && !first {
                continue;
            }
            let more = [&same[..], more].concat();
            // A disk has a command for each read.
            let simulated =
                json(&folder, &[&["story.image", "--no-stay-open"], &more[..]].concat());
            let bytes = &simulated["simulated"]["bytes_per_token"];
            let tokens = simulated["simulated"]["tokens"].as_f64().unwrap();
            let bytes = (bytes.as_f64().unwrap() * tokens).round() as u64;
            let ways = [&[][..], &["--page-cache"]];
            for cached in &ways[..1 + usize::from(first)] {
                let line = [&["--device", "story.image"], &more[..], *cached].concat();
                let found = json(&folder, &line);
                assert_eq!(found["text"], simulated["text"], "{line:?}");
                assert_eq!(found["end"], simulated["end"]);
                let measured = &found["measured"];
                let of = |part: &str, what: &str| measured[part][what].as_u64().unwrap();
                let both = |what| of("prompt", what) + of("generation", what);
                assert_eq!(both("bytes"), bytes, "{line:?}");
                // Whole sectors, and what was read ahead.
                assert!(both("device_bytes") >= bytes, "{line:?}");
                assert_eq!(both("bytes") == 0, both("device_bytes") == 0, "{line:?}");
                let hits = &simulated["simulated"]["hit_rate"];
                assert_eq!(&measured["hit_rate"], hits, "{line:?}");
                let through = measured["device"]["through"].as_str().unwrap();
                let kinds = if cached.is_empty() {
                    &["direct", "memory", "page-cache"][..]
                } else {
                    &["page-cache"]
                };
                assert!(kinds.contains(&through), "{through}");
                assert!(found.get("simulated").is_none());
            }
        }
        if folder.starts_with("/dev/shm") {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
}

#[test]
fn memory_is_divided_as_it_was_given_and_the_text_does_not_change() {
    let folder = places("device-ram").remove(0);
    let text = json(&folder, &["story.image"])["text"].clone();
    let mut read = Vec::new();
    for ram in ["450K", "500K", "600K", "1M", "4.0"] {
        let found = json(&folder, &["--device", "story.image", "--ram", ram]);
        assert_eq!(found["text"], text, "{ram}");
        let measured = &found["measured"];
        let planned = measured["memory"].as_array().unwrap().iter();
        let regions: u64 = planned.map(|region| region["planned"].as_u64().unwrap()).sum();
        let device = |name: &str| measured["device"][name].as_u64().unwrap();
        let used = regions + device("mapped_bytes") + device("read_ahead_bytes");
        assert!(used <= device("ram_bytes"), "{ram}: {used}");
        read.push(measured["generation"]["bytes"].as_u64().unwrap());
    }
    assert!(read.is_sorted_by(|a, b| a >= b) && read[0] > 0, "{read:?}");
    assert_eq!(read.last(), Some(&0), "all of it is held");
    let out =
        ok(&folder, &["run", "--device", "story.image", "--ram", "1M", "-n", "5", "-p", "One"]);
    says(
        &out,
        &["\nmeasured   story.image, ", "tokens a second", "of the active were in RAM", "  RAM "],
    );
    assert!(!out.contains("simulated"), "{out}");
    let error = refused(&folder, &["run", "--device", "story.image", "--ram", "100K"]);
    says(&error, &["--ram 102400B: expected at least", "work", "kv", "--context"]);
}

#[test]
fn a_card_is_found_as_it_is_written_and_another_image_is_refused() {
    let folder = places("device-card").remove(0);
    let text = json(&folder, &["story.image"])["text"].clone();
    for layout in ["fat32", "raw"] {
        ok(&folder, &["card", "story.image", "-o", layout, "--layout", layout, "--yes"]);
        assert_eq!(json(&folder, &["--device", layout])["text"], text, "{layout}");
        assert_eq!(json(&folder, &["story.image", "--device", layout])["text"], text);
    }
    crate::commands::pack_demo(&folder, "novel-opt", "other.image", |_| {});
    let line = ["run", "other.image", "--device", "raw", "-p", "One"];
    says(&refused(&folder, &line), &["--device raw: it holds another image than other.image"]);
}

#[cfg(unix)]
#[test]
fn what_is_no_device_with_an_image_is_refused_with_the_fix() {
    use std::os::unix::fs::PermissionsExt;
    let folder = places("device-wrong").remove(0);
    let image = std::fs::read(folder.join("story.image")).unwrap();
    std::fs::write(folder.join("short"), &image[..100 * 512]).unwrap();
    std::fs::write(folder.join("odd"), [&image[..], b"behind"].concat()).unwrap();
    std::fs::write(folder.join("empty"), "").unwrap();
    std::fs::write(folder.join("text"), "Once upon a time. ".repeat(512)).unwrap();
    let mut flipped = image.clone();
    flipped[30_000] ^= 1;
    std::fs::write(folder.join("flipped"), flipped).unwrap();
    std::fs::create_dir(folder.join("folder")).unwrap();
    for command in [&["run", "-p", "One", "--device"][..], &["bench", "--device"]] {
        for (what, words) in [
            ("nosuch", &["nosuch: no such file"][..]),
            ("folder", &["folder: expected an image, a card", "found a folder"]),
            ("/dev/null", &["/dev/null: expected an image, a card", "found a stream"]),
            ("empty", &["empty: it is empty: expected an image"]),
            ("short", &["short: the image is cut short", "712 blocks", "100", "copy it again"]),
            ("odd", &["odd: it has 364550 bytes, expected whole blocks of 512", "copy it again"]),
            ("text", &["text: no image: expected one as `ripple pack` writes it, or a card"]),
            ("flipped", &["flipped: ", "section `predictor` has checksum", "copy it again"]),
        ] {
            let line = [command, &[what]].concat();
            let failed = ripple(&folder, &line).assert().failure();
            assert_eq!(failed.get_output().status.code(), Some(3), "{line:?}");
            says(&refused(&folder, &line), words);
        }
    }
    let locked = folder.join("locked");
    std::fs::write(&locked, &image).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Who may do anything may read it.
    if !rustix::process::geteuid().is_root() {
        let error = refused(&folder, &["run", "--device", "locked", "-p", "One"]);
        says(&error, &["locked: it may not be read", "`disk`"]);
    }
    for line in [
        &["run", "story.image", "--ram", "1M"][..],
        &["run", "--device", "story.image", "--card", "spi"],
        &["run", "--device", "story.image", "--ram", "1M", "--cache", "0"],
        &["run", "--device", "story.image", "--kv-spill", "128"],
        &["run", "--device", "story.image", "--ram", "many"],
        &["run"],
        &["bench", "--device", "story.image", "--preset", "spi"],
        &["bench", "--device", "story.image", "--pp", "300"],
        &["bench", "--device", "story.image", "--pp", "0", "--tg", "0"],
    ] {
        let failed = ripple(&folder, line).assert().failure();
        assert_eq!(failed.get_output().status.code(), Some(2), "{line:?}");
    }
}

#[test]
fn the_bench_times_prompt_and_generation_and_writes_what_it_printed() {
    let folder = places("device-bench").remove(0);
    let line = "bench --device story.image --ram 64M,500K --pp 40 --tg 12 -r 2 --dense --json j --csv c --md m";
    let out = ok(&folder, &line.split(' ').collect::<Vec<_>>());
    says(
        &out,
        &["Measured. story.image", "ripple", "dense", "pp40", "tg12", "Measured on this machine"],
    );
    let json: Value = serde_json::from_slice(&std::fs::read(folder.join("j")).unwrap()).unwrap();
    let rows = json["measured"].as_array().unwrap();
    assert_eq!(rows.len(), 8);
    assert!(json.get("rows").is_none(), "simulated rows have that name");
    let find = |engine: &str, test: &str, small: bool| {
        let mut rows = rows.iter().filter(|row| row["engine"] == engine && row["test"] == test);
        let row = rows.find(|row| (row["ram_bytes"] == 500 * 1024) == small).unwrap();
        let number = |name: &str| row[name].as_f64().unwrap();
        assert!(number("tokens_per_second") > 0.0 && number("deviation") >= 0.0);
        assert_eq!(row["repetitions"], 2);
        number("bytes_per_token")
    };
    for test in ["pp40", "tg12"] {
        for engine in ["ripple", "dense"] {
            assert_eq!(find(engine, test, false), 0.0, "{engine} {test}: all of it is held");
        }
        let (ours, dense) = (find("ripple", test, true), find("dense", test, true));
        assert!(ours > 0.0 && ours < dense, "{test}: {ours}, {dense}");
    }
    // A pass of several tokens streams once.
    assert!(find("dense", "pp40", true) < 0.1 * find("dense", "tg12", true));
    let csv = std::fs::read_to_string(folder.join("c")).unwrap();
    assert!(csv.starts_with("device,engine,ram_bytes,") && csv.lines().count() == 9, "{csv}");
    let page = std::fs::read_to_string(folder.join("m")).unwrap();
    says(&page, &["# Tokens a second, measured", "| ripple |", "| dense |"]);
}
