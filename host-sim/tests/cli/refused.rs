//! What the command refuses, with its reasons, and that it leaves everything as it was.

use crate::commands::{MODELS, fresh, ok, pipeline, refused, ripple, says};
use ripple_kernel::image::{Crc32, Header, ImagePlan};
use ripple_kernel::{MemoryPlan, Options, Region};
use std::path::{Path, PathBuf};

/// The packed image, changed, in a folder of its own.
fn image(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let folder = fresh(name);
    let mut bytes = std::fs::read(pipeline().join("story.image")).unwrap();
    change(&mut bytes);
    std::fs::write(folder.join("story.image"), bytes).unwrap();
    folder
}

/// A copy of the story-nano directory, without the texts.
fn checkpoint(name: &str) -> PathBuf {
    let folder = fresh(name);
    std::fs::create_dir(folder.join("model")).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(format!("{MODELS}/story-nano/{file}"), folder.join("model").join(file))
            .unwrap();
    }
    folder
}

#[test]
fn what_is_no_image_is_refused() {
    let folder = fresh("no-image");
    std::fs::write(folder.join("empty"), "").unwrap();
    std::fs::write(folder.join("text"), "Once upon a time there was no image here.\n").unwrap();
    for command in ["run", "inspect"] {
        for file in ["nosuch", "empty", "text"] {
            let code = ripple(&folder, &[command, file]).assert().get_output().status.code();
            assert_eq!(code, Some(3), "{command} {file}");
        }
        says(&refused(&folder, &[command, "nosuch"]), &["nosuch: no such file"]);
    }
    says(&refused(&folder, &["inspect", "empty"]), &["empty: ", "found 0", "ripple pack"]);
    says(&refused(&folder, &["inspect", "text"]), &["text: not a Ripple image", "ripple pack"]);
    let or_a_model = "expected an image, as `ripple pack` writes it, or a model, found ";
    says(&refused(&folder, &["run", "empty"]), &["empty: ", or_a_model, "an empty file"]);
    says(&refused(&folder, &["run", "text"]), &["text: ", or_a_model, "none of the formats"]);
}

#[test]
fn a_cut_image_is_refused() {
    let folder = image("cut", |bytes| bytes.truncate(100_000));
    let error = refused(&folder, &["run", "story.image"]);
    says(&error, &["story.image: the image is cut short", "712 blocks", "196", "copy it again"]);
    let error = refused(&folder, &["inspect", "story.image"]);
    says(&error, &["expected 364544 bytes, found 100000", "copy it again"]);
}

/// The header of an image, with every check right, of the largest model of that family.
fn largest_header() -> Vec<u8> {
    let small = std::fs::read(pipeline().join("story.image")).unwrap();
    let mut geometry = Header::parse(&small).unwrap().geometry;
    let config = &mut geometry.config;
    (config.dim, config.layers, config.neurons, config.context) = (16384, 256, 65535, 65536);
    (config.heads, config.kv_heads, config.head_dim) = (64, 64, 256);
    let plan = ImagePlan::standard(&geometry, 10_000).unwrap();
    let bytes = Header::most_bytes(256);
    let mut huge = small[..512].to_vec();
    huge.resize(bytes as usize, 0);
    let mut put = |at: usize, word: u32| huge[at..at + 4].copy_from_slice(&word.to_le_bytes());
    let sizes = [16384, 256, 65535, 64, 64, 256, 512, 65536];
    sizes.into_iter().enumerate().for_each(|(i, size)| put(28 + 4 * i, size));
    put(72, plan.blocks().0);
    let count = usize::from(small[10]);
    for i in 0..count {
        let at = 128 + 24 * i;
        let mut sections = plan.sections().iter();
        let section = sections.find(|section| section.kind as u8 == small[at]).unwrap();
        let (records, layout) = geometry.table(section.kind).unzip();
        put(at + 4, layout.map_or(0, |layout| layout.cols));
        put(at + 8, records.unwrap_or(0));
        put(at + 12, section.start.0);
        put(at + 16, section.part.0);
    }
    let end = 128 + 24 * count + 8 * 256;
    put(12, end as u32);
    let mut crc = Crc32::new();
    crc.update(&huge[20..end]);
    huge[16..20].copy_from_slice(&crc.finish().to_le_bytes());
    huge.resize(2560, 0);
    huge
}

#[test]
fn a_header_alone_takes_no_memory() {
    let front = largest_header();
    let geometry = Header::parse(&front).unwrap().geometry;
    let options = Options { context: 65536, ..Options::DEFAULT };
    assert!(MemoryPlan::for_model(&geometry, &options).region_bytes(Region::Kv) >= 1 << 40);
    let folder = fresh("header-alone");
    std::fs::write(folder.join("huge.image"), &front).unwrap();
    let error = refused(&folder, &["run", "huge.image", "--context", "65536"]);
    says(&error, &["huge.image: the image is cut short", "copy it again"]);
    let error = refused(&folder, &["inspect", "huge.image"]);
    says(&error, &["the image is cut short; copy it again"]);
}

#[test]
fn a_flipped_byte_is_refused_wherever_it_is() {
    let folder = image("flip-header", |bytes| bytes[60] ^= 0x10);
    says(&refused(&folder, &["run", "story.image"]), &["story.image: header checksum"]);
    says(&refused(&folder, &["inspect", "story.image"]), &["story.image: header checksum"]);

    let folder = image("flip-tokenizer", |bytes| bytes[1000] ^= 1);
    let error = refused(&folder, &["run", "story.image", "--map", "none"]);
    says(&error, &["section `tokenizer` has checksum", "copy it again"]);

    // The predictor, mapped, mapped in part, and read.
    let folder = image("flip-predictor", |bytes| bytes[30_000] ^= 0x10);
    for map in ["dense", "all"] {
        let error = refused(&folder, &["run", "story.image", "--map", map]);
        says(&error, &["section `predictor` has checksum", "copy it again"]);
    }
    let error = refused(&folder, &["run", "story.image", "--map", "40000"]);
    says(
        &error,
        &["record 4 of layer 1 of section `predictor` is damaged", "copy the image again"],
    );
    let error = refused(&folder, &["run", "story.image", "--map", "none"]);
    says(&error, &["section `predictor`, layer 1: record 4 is damaged", "copy the image again"]);

    // A hot neuron of the first layer, so that opening reads it.
    let folder = image("flip-ffn", |bytes| bytes[372 * 512 + 30] ^= 0x10);
    let error = refused(&folder, &["run", "story.image"]);
    says(&error, &["section `ffn`, layer 0: record 0 is damaged", "copy the image again"]);
    let error = refused(&folder, &["run", "story.image", "--map", "all"]);
    says(&error, &["section `ffn` has checksum"]);
    let error = refused(&folder, &["inspect", "story.image"]);
    says(&error, &["wrong checksum in section `ffn`"]);
}

#[test]
fn an_error_in_the_middle_of_a_text_starts_a_line() {
    // The whole FFN, cache off: the first token read finds it.
    let folder = image("flip-all-ffn", |bytes| {
        for at in (372 * 512..bytes.len()).step_by(136) {
            bytes[at] ^= 1;
        }
    });
    let run = ripple(&folder, &["run", "story.image", "--cache", "0"]).assert().failure();
    let out = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    assert!(out.is_empty() || out.ends_with('\n'), "{out:?}");
}

#[test]
fn a_newer_version_is_refused() {
    let folder = image("version", |bytes| bytes[8] = 99);
    let error = refused(&folder, &["run", "story.image"]);
    says(&error, &["story.image: image format version 99, expected 7", "pack the model again"]);
}

#[test]
fn options_out_of_range_are_refused() {
    let run = |more: &[&str]| {
        let line = [&["run", "story.image"], more].concat();
        let code = ripple(pipeline(), &line).assert().get_output().status.code();
        assert_eq!(code, Some(2), "{line:?}");
        refused(pipeline(), &line)
    };
    says(&run(&["--card", "nosuch"]), &["nosuch", "spi, sdio-hs", "sandisk-extreme", "ufs4"]);
    says(&run(&["--temperature", "-1"]), &["--temperature -1: expected 0 or more"]);
    says(&run(&["--top-p", "0"]), &["--top-p 0: expected above 0, at most 1"]);
    says(&run(&["--repeat-penalty", "-1"]), &["--repeat-penalty -1: expected above 0"]);
    for cache in ["-1", "NaN", "inf", "1.5", "2", "5000", "1.5MiB", "MiB", "2 parsec"] {
        let error = run(&["--cache", cache]);
        says(&error, &["--cache", cache, "a share of the FFN from 0 to 1, or bytes with a unit"]);
    }
    for cache in ["0", "1", "0.25", "512B", "64KiB", "2MiB", "1GiB"] {
        ok(pipeline(), &["run", "story.image", "-n", "1", "--cache", cache]);
    }
    says(&run(&["--context", "0"]), &["--context", "0 is not in 1.."]);
    says(&run(&["--context", "257"]), &["--context 257: expected at most 256"]);
    says(&run(&["--map", "-1"]), &["--map", "`none`, `dense`, `all` or a number of bytes"]);
    says(&run(&["--hot-permille", "1001"]), &["--hot-permille", "1001 is not in 0..=1000"]);
    says(&run(&["--staging", "4294967295"]), &["--staging", "not in 0..=65536"]);
    says(&run(&["-n", "0"]), &["--tokens", "0 is not in 1.."]);
    let error = refused(Path::new(env!("CARGO_TARGET_TMPDIR")), &["--model", "nosuch"]);
    says(&error, &["nosuch", "story-nano", "novel-small"]);
    let trace = ["place", "story.trace", "-o", "never"];
    for more in
        [&["--hot", "1.5"][..], &["--layers", "0..9"], &["--page-mib", "5", "--method", "random"]]
    {
        let line = [&trace[..], more].concat();
        says(&refused(pipeline(), &line), &[more[0]]);
        assert_eq!(ripple(pipeline(), &line).assert().get_output().status.code(), Some(2));
    }
}

#[test]
fn a_prompt_beyond_the_context_is_refused_and_a_text_ends_with_it() {
    let long = "the cat sat on the mat ".repeat(60);
    let error = refused(pipeline(), &["run", "story.image", "--prompt", &long]);
    says(&error, &["the prompt has 4", "the context is 256", "shorten the prompt"]);
    let error =
        refused(pipeline(), &["run", "story.image", "-p", "One day, a dog", "--context", "3"]);
    says(&error, &["the context is 3", "shorten the prompt"]);
    let out = ok(pipeline(), &["run", "story.image", "-n", "50", "--context", "8"]);
    says(&out, &["8 run: 1 of the prompt, 8 generated; the context is full"]);
}

#[test]
fn bad_traces_and_placements_are_refused_and_outputs_survive() {
    let folder = fresh("stages");
    let from = |file: &str| std::fs::read(pipeline().join(file)).unwrap();
    std::fs::write(folder.join("cut.trace"), &from("story.trace")[..5000]).unwrap();
    std::fs::write(folder.join("good.placement"), from("story.placement")).unwrap();
    std::fs::write(folder.join("story.model"), from("story.model")).unwrap();
    std::fs::write(folder.join("good.image"), from("story.image")).unwrap();
    let error = refused(&folder, &["place", "cut.trace", "-o", "good.placement"]);
    says(&error, &["cut.trace: not an activation trace", "found 5000", "cut short"]);

    let novel = format!("{MODELS}/novel-nano");
    let pack = |placement| {
        refused(&folder, &["pack", "story.model", "--placement", placement, "-o", "good.image"])
    };
    says(&pack("cut.trace"), &["cut.trace: not a placement"]);
    says(&pack("nosuch"), &["nosuch: no such file"]);
    let wrong = ["pack", &novel, "--placement", "good.placement", "-o", "good.image"];
    says(
        &refused(&folder, &wrong),
        &["good.placement: the placement is for 5 layers of 256", "`novel-nano` has 4 of"],
    );
}

#[test]
fn bad_checkpoints_are_refused() {
    let import = ["import", "model", "-o", "out.model"];
    let folder = checkpoint("silu");
    let config = folder.join("model/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"relu\"", "\"silu\"")).unwrap();
    let error = refused(&folder, &import);
    says(
        &error,
        &["model: its activation is Silu, which is never exactly zero", "nothing to skip"],
    );

    let folder = checkpoint("cut-checkpoint");
    let weights = folder.join("model/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..50_000]).unwrap();
    std::fs::write(folder.join("out.model"), "an earlier one").unwrap();
    let error = refused(&folder, &import);
    says(&error, &["model/model.safetensors: not a whole safetensors file", "download it again"]);

    let folder = checkpoint("no-tokenizer");
    std::fs::remove_file(folder.join("model/tokenizer.json")).unwrap();
    says(&refused(&folder, &import), &["model/tokenizer.json: not found, nor vocab.json"]);
}

#[test]
fn bad_texts_are_refused() {
    let folder = fresh("texts");
    std::fs::write(folder.join("empty.txt"), " \n").unwrap();
    std::fs::write(folder.join("latin1.txt"), b"caf\xe9 au lait").unwrap();
    std::fs::write(folder.join("short.txt"), "Once upon a time").unwrap();
    std::fs::write(folder.join("good.trace"), "an earlier one").unwrap();
    let model = format!("{MODELS}/story-nano");
    let trace = |text| refused(&folder, &["trace", &model, "--text", text, "-o", "good.trace"]);
    says(&trace("empty.txt"), &["empty.txt: the text is empty"]);
    says(&trace("latin1.txt"), &["latin1.txt: expected a text in UTF-8", "index 3"]);
    says(&trace("nosuch.txt"), &["nosuch.txt: no such file"]);
    let error = refused(&folder, &["perplexity", &model, "--text", "short.txt"]);
    says(&error, &["short.txt: expected at least one full context of 256 tokens, found"]);
}

#[test]
fn outputs_that_cannot_be_written_are_refused_before_the_work() {
    let folder = fresh("outputs");
    std::fs::create_dir(folder.join("folder")).unwrap();
    let model = format!("{MODELS}/story-nano");
    let text = format!("{MODELS}/story-nano/profile.txt");
    let placement = pipeline().join("story.placement").display().to_string();
    let trace = pipeline().join("story.trace").display().to_string();
    for args in [
        &["import", &model][..],
        &["trace", &model, "--text", &text],
        &["place", &trace],
        &["pack", &model, "--placement", &placement],
    ] {
        let error = refused(&folder, &[args, &["-o", "nosuch/out"]].concat());
        says(
            &error,
            &["nosuch/out: cannot be written, there is no folder `nosuch`; make it first"],
        );
        let error = refused(&folder, &[args, &["-o", "folder"]].concat());
        says(&error, &["folder: cannot be written, expected the name of a file, found a folder"]);
    }
}
