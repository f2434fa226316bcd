//! Tokens a second of an image that lies in memory, on one thread, with each arm of the inner loops.
//!
//! `cargo bench -p ripple-kernel --bench tokens -- [--kv8] [--batch N] [--only ARM] IMAGE...`. A prompt of 128 tokens in passes of
//! 32, then 64 tokens one by one, again and again for a tenth of a second. Arms take turns, so that what else the
//! machine does meets them all; the time is the thread's own where the system tells it (Linux), and the least of five
//! counts. The tokens must be the same.

use ripple_hal::{Block, Slice};
use ripple_kernel::image::Header;
use ripple_kernel::text::sample::likeliest;
use ripple_kernel::{Decoder, KvKind, Memory, MemoryPlan, Options};
use std::error::Error;
use std::time::{Duration, Instant};

const PROMPT: u32 = 128;
const TOKENS: usize = 64;
const TURNS: usize = 5;

/// The arms of this machine: a name, and what has it used.
fn arms() -> Vec<(String, Box<dyn Fn()>)> {
    #[cfg(target_arch = "x86_64")]
    {
        use ripple_kernel::math::Arm;
        let there = Arm::ALL.into_iter().filter(|arm| arm.is_there());
        let named = |arm: Arm| {
            let choose: Box<dyn Fn()> = Box::new(move || assert!(arm.choose()));
            (format!("{arm:?}"), choose)
        };
        there.map(named).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        vec![("this target's".to_owned(), Box::new(|| {}))]
    }
}

/// Time that this thread has had, or time itself.
fn now(start: Instant) -> Duration {
    let own = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let own = own.and_then(|text| text.split(' ').next()?.parse().ok());
    own.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// Calls `work` until that has taken a tenth of a second, which the clock of a thread resolves; the time of one.
fn timed(
    start: Instant,
    mut work: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<Duration, Box<dyn Error>> {
    let (begin, mut calls) = (now(start), 0);
    loop {
        work()?;
        calls += 1;
        let taken = now(start).saturating_sub(begin);
        if taken >= Duration::from_millis(100) {
            return Ok(taken / calls);
        }
    }
}

fn measure(path: &str, kv: KvKind, batch: u32, only: Option<&str>) -> Result<(), Box<dyn Error>> {
    let image = std::fs::read(path)?;
    let geometry = Header::parse(&image)?.geometry;
    let context = (PROMPT + TOKENS as u32 + 1).min(geometry.config.context);
    let prompt = PROMPT.min(context / 2);
    let options = Options { context, kv, batch, verify: false, ..Options::DEFAULT };
    let plan = MemoryPlan::for_model(&geometry, &options);
    let (mut work, mut staging) = (vec![0; plan.work], vec![Block::ZERO; plan.staging]);
    let (mut cache, mut index) = (vec![0; plan.cache], vec![0; plan.index]);
    let mut kv = vec![0; plan.kv];
    let memory = Memory {
        work: &mut work,
        staging: &mut staging,
        cache: &mut cache,
        index: &mut index,
        kv: &mut kv,
    };
    let mut decoder = Decoder::open(Slice::new(&image), &image, memory, &options, ())?;
    let ids: Vec<u32> = (0..prompt).map(|i| (i * 7919 + 13) % geometry.config.vocab).collect();

    let mut arms = arms();
    arms.retain(|(name, _)| only.is_none_or(|only| only == name));
    let mut least = vec![[Duration::MAX; 2]; arms.len()];
    let mut expected = None;
    let start = Instant::now();
    for _ in 0..TURNS {
        for ((name, choose), [before, after]) in arms.iter().zip(&mut least) {
            choose();
            let mut first = 0;
            let taken = timed(start, || {
                decoder.rewind(0);
                first = likeliest(decoder.prefill(&ids)?);
                Ok(())
            })?;
            *before = (*before).min(taken / prompt);
            let mut tokens = Vec::new();
            let taken = timed(start, || {
                decoder.rewind(prompt);
                tokens = vec![first];
                while tokens.len() <= TOKENS && decoder.position() < decoder.context() {
                    tokens.push(likeliest(decoder.step(tokens[tokens.len() - 1])?));
                }
                Ok(())
            })?;
            *after = (*after).min(taken / (tokens.len() as u32 - 1));
            assert_eq!(*expected.get_or_insert(tokens.clone()), tokens, "{name}");
        }
    }
    for ((name, _), [prompt, each]) in arms.iter().zip(&least) {
        let rate = |time: &Duration| 1.0 / time.as_secs_f64();
        let over = |i: usize, time: &Duration| least[0][i].as_secs_f64() / time.as_secs_f64();
        println!(
            "{path:<40} {name:<12} prompt {:>9.1} tokens/s ({:.2}x)  then {:>9.1} ({:.2}x)",
            rate(prompt),
            over(0, prompt),
            rate(each),
            over(1, each)
        );
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut kv, mut batch, mut only, mut images) = (KvKind::F16, 32, None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--kv8" => kv = KvKind::Q8,
            "--batch" => batch = arguments.next().ok_or("--batch: how many?")?.parse()?,
            "--only" => only = arguments.next(),
            _ => images.push(argument),
        }
    }
    if images.is_empty() {
        println!("no image: cargo bench -p ripple-kernel --bench tokens -- IMAGE...");
    }
    images.iter().try_for_each(|image| measure(image, kv, batch, only.as_deref()))
}
