//! The 8-bit image against the float32 reference on held-out text: perplexity within 1 %. And the
//! compact predictor against what it was calibrated for.

use ripple_host_sim::model::Model;
use ripple_host_sim::models;
use ripple_host_sim::pack::{PredictorChoice, pack};
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::Goal;
use ripple_host_sim::predictor::signs::{SignOptions, calibrate, evaluate};
use ripple_host_sim::quality::measure;
use ripple_host_sim::text::read_tokens;
use ripple_kernel::{KvKind, Options};

const WINDOWS: usize = 4;

#[test]
fn eight_bits_cost_less_than_one_percent_of_perplexity() {
    for name in models::list() {
        let directory = models::path(name).unwrap();
        let model = Model::load(&directory).unwrap();
        let c = &model.config;
        let tokens = read_tokens(&model, &directory.join("held-out.txt")).unwrap();
        let placement = Placement::identity(name, c.layers as usize, c.neurons as usize);
        let image = pack(&model, &placement, &PredictorChoice::Exact, &[]).unwrap();
        for kv in [KvKind::F16, KvKind::Q8] {
            let options = Options { context: c.context, kv, ..Options::DEFAULT };
            let measured = measure(&model, &[&image], &tokens, &options, WINDOWS, &|_| ()).unwrap();
            let (reference, found) = (measured[0], measured[1]);
            let change = found.perplexity / reference.perplexity - 1.0;
            assert!(change.abs() < 0.01, "{name}, {kv:?}: {:+.2} %", 100.0 * change);
            assert!(change != 0.0, "{name}: the image was not measured");
            assert_eq!((reference.divergence, reference.agreement), (0.0, 1.0));
            assert!(found.divergence > 0.0 && found.divergence < 2e-3, "{name}: {found:?}");
            assert!(found.agreement > 0.97 && found.agreement < 1.0, "{name}: {found:?}");
            assert!((found.bundles / reference.bundles - 1.0).abs() < 0.01, "{name}: {found:?}");
        }
    }
}

#[test]
fn the_sign_predictor_keeps_what_it_is_asked_to_keep() {
    let directory = models::path("novel-opt").unwrap();
    let model = Model::load(&directory).unwrap();
    let read = |file, tokens: usize| -> Vec<u32> {
        let all = read_tokens(&model, &directory.join(file)).unwrap();
        all[..tokens].to_vec()
    };
    let (profile, held_out) = (read("profile.txt", 8192), read("held-out.txt", 2048));
    let mut predicted = Vec::new();
    for keep in [0.9, 0.99] {
        let thresholds = calibrate(
            &model,
            &profile,
            SignOptions { planes: 4, goal: Goal::Activation(keep) },
            &|_| (),
        );
        let quality = evaluate(&model, &held_out, &thresholds, &|_| ());
        assert!(quality.kept() > keep - 0.02, "{keep}: {quality:?}");
        assert!(quality.recall() < 1.0 && quality.precision() > 0.1, "{quality:?}");
        predicted.push(quality.predicted);
    }
    assert!(predicted[0] < predicted[1], "{predicted:?}");
}
