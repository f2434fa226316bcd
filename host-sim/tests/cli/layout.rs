//! Layouts of images that are derived, against the standard ones: every shipped model on every board.

use crate::commands::{fresh, ok, refused};
use ripple_app::{Board, Budget, board};
use ripple_derive::interpret::Modular;
use ripple_derive::notation::parse;
use ripple_derive::rules::bundle::bundle;
use ripple_host_sim::cost::Preset;
use ripple_host_sim::import::demo;
use ripple_host_sim::layout::{Layout, LayoutFile, derive, layer, standard_geometry};
use ripple_host_sim::model::Model;
use ripple_host_sim::pack;
use ripple_host_sim::predictor::Format;
use ripple_kernel::image::{Quants, SectionKind};
use std::fmt::Write as _;

fn shipped() -> impl Iterator<Item = Model> {
    demo::list().into_iter().map(|name| Model::load(&demo::path(name).unwrap()).unwrap())
}

fn derived(model: &Model, board: &Board) -> Layout {
    let tokenizer = u32::try_from(model.tokenizer.pack().unwrap().len()).unwrap();
    let card = Preset::by_name(board.card).unwrap();
    derive(&standard_geometry(model, Quants::Q8), tokenizer, board, card, 0.1).unwrap()
}

#[test]
fn every_derived_layout_is_the_standard_one_or_fits_where_that_does_not() {
    let mut table = String::from(
        "| model | board | standard needs of flash | derived | flash | plan |\n|---|---|---|---|---|---|\n",
    );
    let (mut equal, mut better, mut neither) = (0, 0, 0);
    for model in shipped() {
        for board in board::ALL {
            let layout = derived(&model, board);
            let predictor = LayoutFile::new(&layout, &model.name, board.name).predictor();
            let format =
                Format { order: &layout.front.order, ..Format::new(&predictor, Quants::Q8) };
            let tokenizer = model.tokenizer.pack().unwrap().len();
            let packed = pack::plan(format, &model, tokenizer, None).unwrap();
            assert_eq!(packed.sections(), layout.plan.sections(), "what the packer makes of it");
            let front = |plan: &ripple_kernel::image::ImagePlan| plan.range(SectionKind::Ffn).start;
            let (standard, own) = (front(&layout.standard), front(&layout.plan));
            let fits = |mapped| {
                Budget::planned(board, layout.plan.geometry(), mapped).flash()
                    <= board.flash as usize
            };
            let plan = match (layout.plan == layout.standard, fits(standard), fits(own)) {
                (true, true, true) => "the standard one",
                (false, false, true) => "others in front: it fits",
                (_, false, false) => "none fits",
                other => panic!("{} on {}: {other:?}", model.name, board.name),
            };
            match plan {
                "the standard one" => equal += 1,
                "none fits" => neither += 1,
                _ => better += 1,
            }
            let _ = writeln!(
                table,
                "| {} | {} | {standard} | {own} | {} | {plan} |",
                model.name, board.name, board.flash
            );
            // Whatever stands where: one stream for q, k and v, one record for a neuron.
            assert_eq!(layout.records.streams, ["q", "k", "v"], "{}", model.name);
            assert!(layout.records.first_apart, "{}", model.name);
            assert_eq!(layout.plan.geometry().bundle, layout.standard.geometry().bundle);
            let bundling = &layout.records.steps[1];
            let rows = layout.records.rows.len() as f64;
            let (apart, together) = bundling.commands;
            assert!((apart - rows * together).abs() < 1e-9 * apart, "{}: {bundling:?}", model.name);
            let taken = layout.records.steps.iter().filter(|step| step.declined.is_none());
            for step in taken {
                assert!(step.nanoseconds.1 < step.nanoseconds.0, "{}: {step:?}", model.name);
            }
        }
    }
    println!("{table}\n{equal} standard, {better} fit only as derived, {neither} fit in no order");
    insta::assert_snapshot!(table);
    assert!(equal > 0);
}

#[test]
fn the_equations_of_a_layer_keep_their_numbers() {
    let model = shipped().next().unwrap();
    let mut config = model.config;
    (config.dim, config.heads, config.kv_heads, config.head_dim, config.neurons) = (8, 2, 1, 4, 5);
    for ffn in [ripple_kernel::Ffn::Gated, ripple_kernel::Ffn::Plain] {
        config.ffn = ffn;
        let network = parse(&layer(&config)).unwrap();
        let at = network.definitions.len() - 2;
        let (after, found) = bundle(&network, at, 1).unwrap();
        let rows: &[&str] =
            if ffn == ripple_kernel::Ffn::Gated { &["G", "U", "D"] } else { &["U", "D"] };
        assert_eq!(found.rows, rows);
        let result = |network: &ripple_derive::network::Network| {
            let given = network.tensors.iter().enumerate().map(|(id, tensor)| {
                let count =
                    if network.definition_of(id as u32).is_some() { 0 } else { tensor.len() };
                let of = |i: i64| {
                    let number = (id as i64 + 1) * 7919 + i * 104_729;
                    <Modular as ripple_derive::interpret::Number>::of(number)
                };
                (0..count).map(of).collect()
            });
            let last = network.definitions.last().unwrap().tensor as usize;
            network.interpret(given.collect()).unwrap().swap_remove(last)
        };
        assert_eq!(result(&network), result(&after));
    }
}

#[test]
fn a_plan_is_read_as_it_was_written_and_nothing_else_is() {
    let model = shipped().next().unwrap();
    let layout = derived(&model, board::ALL[0]);
    let file = LayoutFile::new(&layout, &model.name, board::ALL[0].name);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.layout");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    let whole = serde_json::to_string(&file).unwrap();
    write(&whole);
    assert_eq!(LayoutFile::read(&path, &model.name).unwrap(), file);
    assert_eq!(file.order().unwrap(), layout.front.order);
    let refused = |text: &str, name: &str| {
        write(text);
        format!("{:#}", LayoutFile::read(&path, name).unwrap_err())
    };
    assert!(refused(&whole, "another").contains("not for `another`"));
    assert!(
        refused(&whole.replace("\"ffn\"", "\"fnf\""), &model.name)
            .contains("section `fnf`: expected one of")
    );
    let twice = whole.replace("\"positions\"", "\"head\"");
    assert!(refused(&twice, &model.name).contains("expected once, found"), "{twice}");
    assert!(refused("{}", &model.name).contains("expected a plan of `ripple derive --model`"));
}

#[test]
fn a_models_layout_is_derived_and_written() {
    let folder = fresh("derive-model");
    let line = ["derive", "--model", "story-nano", "--board", "lm3s6965evb", "-o", "my.layout"];
    let out = ok(&folder, &line);
    for part in [
        "q[i: ",
        "expression merging: q, k and v",
        "bundling: ",
        "declined: ",
        "the plan is the standard one",
    ] {
        assert!(out.contains(part), "{part}:\n{out}");
    }
    let file = LayoutFile::read(&folder.join("my.layout"), "story-nano").unwrap();
    assert_eq!(file.order().unwrap(), SectionKind::ALL);
    let line = ["derive", "--model", "absent", "--board", "lm3s6965evb"];
    assert!(refused(&folder, &line).contains("absent"));
    let both = ["derive", "network.txt", "--model", "story-nano", "--board", "lm3s6965evb"];
    assert!(refused(&folder, &both).contains("cannot be used with"));
}

/// What 8 bits make of a row: its numbers as they are multiplied.
fn rounded(row: &[f64]) -> Vec<f64> {
    let scale = row.iter().fold(0.0f64, |most, x| most.max(x.abs())) / 127.0;
    row.iter().map(|x| if scale > 0.0 { (x / scale).round() * scale } else { 0.0 }).collect()
}

#[test]
fn a_norms_weight_in_the_rows_changes_their_bits() {
    for model in shipped() {
        let (mut apart, mut folded, mut all) = (0.0, 0.0, 0.0);
        for (l, layer) in model.layers.iter().enumerate() {
            let norm: Vec<f64> = layer.attention_norm.weight.iter().map(|&g| g.into()).collect();
            // Any input will do: the same for both.
            let x: Vec<f64> =
                (0..norm.len()).map(|c| ((c * 37 + l * 11) % 19) as f64 - 9.0).collect();
            for i in 0..layer.query.weight.rows {
                let row: Vec<f64> = layer.query.weight.row(i).iter().map(|&w| w.into()).collect();
                let scaled: Vec<f64> = row.iter().zip(&norm).map(|(w, g)| w * g).collect();
                let sum = |row: &[f64], of: &dyn Fn(usize) -> f64| -> f64 {
                    row.iter().enumerate().map(|(c, w)| w * of(c)).sum()
                };
                let exact = sum(&scaled, &|c| x[c]);
                apart += (sum(&rounded(&row), &|c| norm[c] * x[c]) - exact).powi(2);
                folded += (sum(&rounded(&scaled), &|c| x[c]) - exact).powi(2);
                all += exact.powi(2);
            }
        }
        let error = |sum: f64| (sum / all).sqrt();
        println!(
            "{}: relative error of q with the norm's weight apart {:.5}, in the rows {:.5}",
            model.name,
            error(apart),
            error(folded)
        );
        assert!(error(apart) > 0.0 && error(folded) > 0.0);
        assert!((error(apart) - error(folded)).abs() > 1e-9, "other bits");
        assert!(error(folded) < 0.05, "{}", model.name);
    }
}
