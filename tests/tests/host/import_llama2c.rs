//! llama2.c files come in whole, with rotary rows in this project's order, or say what is wrong.

use crate::checkpoint_common::{Llama2c, Piece, silu, vocabulary};
use ripple_host_sim::import::{import, import_dense};
use ripple_host_sim::model::Model;
use ripple_tests::tiny::Shape;

const SHAPES: [Shape; 2] = [
    Shape { dim: 16, ..Shape::LLAMA },
    Shape { dim: 48, kv_heads: 3, tied_head: false, seed: 2, ..Shape::LLAMA },
];

fn pieces() -> Vec<Piece> {
    let piece = |text: &str, score| Piece { text: text.to_owned(), score };
    vocabulary(&[
        piece("\u{2581}", -9.0),
        piece("a", -8.0),
        piece("\u{2581}a", -1.0),
        piece("é", -7.0),
    ])
}

/// A model whose vocabulary is `pieces()` and whose heads together are as wide as it.
fn model(shape: Shape) -> Model {
    let mut model = silu(Shape { head_dim: shape.dim / (2 * shape.kv_heads), ..shape });
    for table in [Some(&mut model.embed), model.head.as_mut()].into_iter().flatten() {
        table.truncate(pieces().len());
    }
    model
}

#[test]
fn both_versions_come_back() {
    for shape in SHAPES {
        let model = model(shape);
        for version in 0..2 {
            let files = Llama2c::write(&model, &pieces(), version);
            let found = import_dense(&files.model(), None).unwrap();
            assert_eq!(found.layers, model.layers, "version {version}");
            assert_eq!(found.embed, model.embed);
            assert_eq!(found.head, model.head);
            assert_eq!(found.final_norm, model.final_norm);
            let (c, expected) = (found.config, model.config);
            assert_eq!(
                (c.heads, c.kv_heads, c.activation),
                (expected.heads, expected.kv_heads, expected.activation)
            );
            assert_eq!((c.vocab, c.context), (263, expected.context));
            let spec = &found.tokenizer;
            assert_eq!((spec.bos, spec.adds_bos, &spec.eos), (Some(1), true, &vec![1]));
            assert_eq!(found.tokenizer.tokens[261], b" a");
            assert_eq!(found.tokenizer.tokens[3 + 10], b"\n");
            assert_eq!(found.tokenizer.byte_ids[usize::from(b' ')], Some(259));
            assert_eq!(found.tokenizer.byte_ids[usize::from(b'b')], Some(3 + u32::from(b'b')));
            assert_eq!(found.tokenizer.merges, [(259, 260, 261)]);
        }
    }
}

fn refusal(files: &Llama2c) -> String {
    let error = import_dense(&files.model(), None).err().map(|error| format!("{error:#}"));
    error.expect("an error")
}

#[test]
fn what_is_wrong_is_said() {
    let model = model(SHAPES[0]);
    let files = Llama2c::write(&model, &pieces(), 0);
    let whole = std::fs::read(files.model()).unwrap();
    let vocabulary = std::fs::read(files.tokenizer()).unwrap();

    let lossless = import(&files.model()).err().unwrap().to_string();
    assert!(lossless.contains("Silu") && lossless.contains("--threshold"), "{lossless}");

    for (bytes, expected) in [
        (&whole[..whole.len() - 4], "expected"),
        (&whole[..20], "too short"),
        (
            &[&0x616b_3432u32.to_le_bytes()[..], &2u32.to_le_bytes(), &whole].concat()[..],
            "version 2, expected 0 or 1",
        ),
        (&[&[0; 28], &whole[28..]].concat()[..], "`dim` is 0"),
    ] {
        std::fs::write(files.model(), bytes).unwrap();
        let said = refusal(&files);
        assert!(said.contains(expected) && said.contains("model.bin"), "{said}");
    }
    std::fs::write(files.model(), [&whole[..28], &f32::NAN.to_le_bytes(), &whole[32..]].concat())
        .unwrap();
    let said = refusal(&files);
    assert!(said.contains("`embed.weight` holds NaN at element 0"), "{said}");

    std::fs::write(files.model(), &whole).unwrap();
    std::fs::write(files.tokenizer(), &vocabulary[..vocabulary.len() - 1]).unwrap();
    let said = refusal(&files);
    assert!(said.contains("ends in token 262, expected 263 tokens"), "{said}");
    std::fs::write(files.tokenizer(), [&vocabulary[..], &[0]].concat()).unwrap();
    let said = refusal(&files);
    assert!(said.contains("1 bytes after token 263"), "{said}");
    std::fs::remove_file(files.tokenizer()).unwrap();
    let said = refusal(&files);
    assert!(said.contains("--tokenizer"), "{said}");
}
