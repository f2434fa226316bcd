//! Numbers that no record can hold are refused by section, layer and record; images differ in their number.

use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::Header;
use ripple_tests::tiny::{Shape, model};

fn packed(
    shape: Shape,
    change: impl Fn(&mut ripple_host_sim::model::Model),
) -> Result<Vec<u8>, String> {
    let mut model = model(shape);
    change(&mut model);
    let placement = Placement::identity("tiny", shape.layers as usize, shape.neurons as usize);
    pack(&model, &placement, &PredictorChoice::Exact, &[]).map_err(|error| format!("{error:#}"))
}

#[test]
fn what_would_come_back_infinite_is_refused() {
    // The largest scale, 65504, times 127.
    let most = 8_319_008.0;
    for (number, fits) in [(most, true), (-most, true), (most + 1.0, false), (f32::NAN, false)] {
        let found =
            packed(Shape::LLAMA, |model| model.layers[1].up.weight.values_mut()[43] = number);
        match (fits, found) {
            (true, Ok(_)) => {}
            (false, Err(said)) => {
                // Number 43 of rows of 20 is of neuron 2.
                assert!(said.contains("section `ffn`, layer 1"), "{said}");
                assert!(said.contains("record 2") && said.contains("at most 8319008"), "{said}");
            }
            (_, other) => panic!("{number}: {:?}", other.map(|image| image.len())),
        }
    }
    let said = packed(Shape::OPT, |model| {
        model.layers[0].query.bias = Some(vec![1e5; model.layers[0].query.weight.rows]);
    });
    let said = said.unwrap_err();
    assert!(said.contains("a bias of 100000"), "{said}");
}

#[test]
fn the_number_of_an_image_is_that_of_its_contents() {
    let number = |change: &dyn Fn(&mut ripple_host_sim::model::Model)| {
        Header::parse(&packed(Shape::LLAMA, change).unwrap()).unwrap().number
    };
    let same = number(&|_| {});
    assert_eq!(same, number(&|_| {}));
    assert_ne!(same, number(&|model| model.layers[2].down.weight.values_mut()[7] += 0.5));
    assert_ne!(same, number(&|model| model.final_norm.weight[0] += 0.5));
}
