//! A small GGUF file with SiLU gates, as llama.cpp's converter would write it.

use std::path::Path;

const DIM: usize = 32;
const NEURONS: usize = 48;
/// `<unk>`, `<s>`, `</s>`, the bytes, and some letters with a space in front.
const VOCAB: usize = 3 + 256 + 26;

/// Writes it to `path`: two layers, random weights.
pub fn write(path: &Path) {
    let (mut keys, mut tensors, mut data) = ((0, Vec::new()), (0, Vec::new()), Vec::new());
    let mut key = |name: &str, kind: u32, value: &[u8]| {
        text(&mut keys.1, name);
        keys.1.extend(kind.to_le_bytes());
        keys.1.extend(value);
        keys.0 += 1;
    };
    for (name, value) in [
        ("llama.embedding_length", DIM),
        ("llama.block_count", 2),
        ("llama.feed_forward_length", NEURONS),
        ("llama.attention.head_count", 4),
        ("llama.attention.head_count_kv", 2),
        ("llama.context_length", 64),
        ("tokenizer.ggml.bos_token_id", 1),
        ("tokenizer.ggml.eos_token_id", 2),
    ] {
        key(name, 4, &(value as u32).to_le_bytes());
    }
    key("llama.attention.layer_norm_rms_epsilon", 6, &1e-5f32.to_le_bytes());
    for (name, value) in [
        ("general.architecture", "llama"),
        ("general.name", "tiny"),
        ("llama.hidden_activation", "silu"),
        ("tokenizer.ggml.model", "llama"),
    ] {
        let mut bytes = Vec::new();
        text(&mut bytes, value);
        key(name, 8, &bytes);
    }
    let list = |kind: u32, items: &mut dyn FnMut(usize, &mut Vec<u8>)| {
        let mut bytes = [&kind.to_le_bytes()[..], &(VOCAB as u64).to_le_bytes()].concat();
        (0..VOCAB).for_each(|i| items(i, &mut bytes));
        bytes
    };
    let piece = |i: usize| match i {
        0 => "<unk>".to_owned(),
        1 => "<s>".to_owned(),
        2 => "</s>".to_owned(),
        3..259 => format!("<0x{:02X}>", i - 3),
        _ => format!("\u{2581}{}", char::from(b'a' + (i - 259) as u8)),
    };
    key("tokenizer.ggml.tokens", 9, &list(8, &mut |i, out| text(out, &piece(i))));
    let score = &mut |i: usize, out: &mut Vec<u8>| out.extend((-(i as f32)).to_le_bytes());
    key("tokenizer.ggml.scores", 9, &list(6, score));
    let kind = |i: usize| [2, 3, 3].get(i).copied().unwrap_or(if i < 259 { 6i32 } else { 1 });
    let kinds = &mut |i: usize, out: &mut Vec<u8>| out.extend(kind(i).to_le_bytes());
    key("tokenizer.ggml.token_type", 9, &list(5, kinds));

    let mut seed = 1u32;
    let mut tensor = |name: &str, rows: usize, cols: usize| {
        text(&mut tensors.1, name);
        let shape: &[usize] = if rows == 0 { &[cols] } else { &[cols, rows] };
        tensors.1.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|n| tensors.1.extend((*n as u64).to_le_bytes()));
        tensors.1.extend(0u32.to_le_bytes());
        tensors.1.extend((data.len() as u64).to_le_bytes());
        for _ in 0..rows.max(1) * cols {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = if rows == 0 { 1.0 } else { (seed >> 8) as f32 / (1 << 23) as f32 - 1.0 };
            data.extend(value.to_le_bytes());
        }
        tensors.0 += 1;
    };
    tensor("token_embd.weight", VOCAB, DIM);
    tensor("output_norm.weight", 0, DIM);
    for layer in 0..2 {
        for (part, rows, cols) in [
            ("attn_norm", 0, DIM),
            ("ffn_norm", 0, DIM),
            ("attn_q", DIM, DIM),
            ("attn_k", DIM / 2, DIM),
            ("attn_v", DIM / 2, DIM),
            ("attn_output", DIM, DIM),
            ("ffn_gate", NEURONS, DIM),
            ("ffn_up", NEURONS, DIM),
            ("ffn_down", DIM, NEURONS),
        ] {
            tensor(&format!("blk.{layer}.{part}.weight"), rows, cols);
        }
    }

    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend((tensors.0 as u64).to_le_bytes());
    file.extend((keys.0 as u64).to_le_bytes());
    file.extend(keys.1);
    file.extend(tensors.1);
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(data);
    std::fs::write(path, file).unwrap();
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
