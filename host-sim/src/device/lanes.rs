//! Which reads are under way, and which begin next.
//!
//! In: the reads that a caller says will come, and those that it asks for. Out: pieces of these, none longer than a
//! chunk, in the order in which they are to begin, and what was read of each until it is asked for. Knows nothing of
//! files or threads.
//!
//! There are three lanes: what is asked for now, what comes next, what comes later. In each of the two that look ahead
//! reads are asked for in the order in which they were told; so what stands before one that is asked for will not be
//! asked for any more, and makes room.

use crate::machine::pages::{PAGE_BYTES, PageBlocks};
use ripple_hal::{BLOCK_BYTES, Coming};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::ops::Range;

/// Blocks of a piece at most, of what is asked for or comes next: 256 KiB, so that a long read is several at once.
const CHUNK: u64 = 512;
/// And of what comes later: the longer they are, the less often threads wait for each other.
const LATER_CHUNK: u64 = 2048;
/// Reads at once of what comes later: more would be in the way of what is asked for.
const LATER_AT_ONCE: usize = 3;
/// Ranges of a lane that wait at most: a caller that tells more and asks for none has gone elsewhere.
const MOST_WAITING: usize = 1 << 16;
/// Of which part of the blocks that may come, in percent, reading them one by one must cost what reading all costs.
const WHOLE_PERCENT: u64 = 80;

/// Memory that waits to be used again where nothing is read ahead.
const LEAST_SPARE: usize = 1 << 19;

const ASKED: usize = 0;
const NEXT: usize = 1;
const LATER: usize = 2;

/// A piece that was begun.
struct Piece {
    number: u64,
    blocks: Range<u64>,
    /// Bytes of memory that it takes.
    room: usize,
    state: State,
}

enum State {
    UnderWay,
    There(PageBlocks),
    Failed(io::Error),
}

/// Blocks that wait, and the range of which they may be a part that is not wanted.
struct Waiting {
    blocks: Range<u64>,
    of: Option<Range<u64>>,
}

#[derive(Default)]
struct Lane {
    begun: VecDeque<Piece>,
    waiting: VecDeque<Waiting>,
    held: usize,
}

/// Blocks of which some may come, and what those that came cost the last time.
#[derive(Clone, Default)]
struct Known {
    end: u64,
    cost: u64,
    reads: u64,
}

/// What a thread is to read.
pub(super) struct Job {
    pub number: u64,
    pub blocks: Range<u64>,
    /// Memory that was used before, where there is some of this size.
    pub memory: Option<PageBlocks>,
    /// Bytes of memory that it needs.
    pub room: usize,
    /// Memory of other sizes that makes room for it: to be dropped, which takes its time.
    pub too_many: Vec<PageBlocks>,
}

impl Job {
    /// The memory to read into. Takes its time where none was used before.
    pub fn memory(&mut self) -> PageBlocks {
        self.too_many.clear();
        self.memory.take().unwrap_or_else(|| PageBlocks::new(self.room / BLOCK_BYTES))
    }
}

/// A part of what a caller asks for: which blocks, and the piece that has them.
pub(super) struct Part {
    pub number: u64,
    pub blocks: Range<u64>,
}

/// See the [module](self).
pub(super) struct Lanes {
    /// Asked, next, later.
    lanes: [Lane; 3],
    /// Bytes that each of the two lanes which look ahead may hold.
    budget: usize,
    /// Blocks of a device's sector: memory holds whole ones.
    sector: u64,
    /// Blocks on the device.
    blocks: u64,
    /// Blocks of a piece at most, by lane.
    chunks: [u64; 3],
    /// What a read costs, in blocks.
    gap: u64,
    some: BTreeMap<u64, Known>,
    numbers: u64,
    later_under_way: usize,
    spare: Spare,
}

impl Lanes {
    /// No reads, of a device of so many blocks in sectors of so many bytes.
    pub fn new(blocks: u64, sector: usize) -> Self {
        Self {
            lanes: Default::default(),
            budget: 0,
            sector: (sector / BLOCK_BYTES).max(1) as u64,
            blocks,
            chunks: [CHUNK; 3],
            gap: 0,
            some: BTreeMap::new(),
            numbers: 0,
            later_under_way: 0,
            spare: Spare::default(),
        }
    }

    /// Looks ahead with so many bytes of memory from now on; 0: does not. `gap`: blocks that take as long as a read.
    pub fn set(&mut self, bytes: usize, gap: u64) {
        self.budget = bytes / 2;
        self.gap = gap;
        // A quarter of a lane at most, and whole sectors.
        let chunk = ((self.budget / 4 / BLOCK_BYTES) as u64).max(32);
        self.chunks = [CHUNK, chunk.min(CHUNK), chunk.min(LATER_CHUNK)];
        for lane in [NEXT, LATER] {
            self.drop_before(lane, usize::MAX);
            self.lanes[lane].waiting.clear();
        }
        self.spare = Spare::default();
    }

    /// Notes that blocks will be read.
    pub fn tell(&mut self, blocks: Range<u64>, coming: Coming) {
        let blocks = blocks.start..blocks.end.min(self.blocks);
        if self.budget == 0 || blocks.is_empty() {
            return;
        }
        let (lane, of) = match coming {
            Coming::Next => {
                // Which of them come is known: the rest of those does not.
                let other = |waiting: &Waiting| {
                    waiting.of.as_ref().is_none_or(|of| !of.contains(&blocks.start))
                };
                self.lanes[LATER].waiting.retain(other);
                (NEXT, None)
            }
            Coming::Later => (LATER, None),
            Coming::SomeLater => {
                let length = blocks.end - blocks.start;
                let known =
                    self.some.insert(blocks.start, Known { end: blocks.end, ..Known::default() });
                let whole = known.is_some_and(|known| {
                    known.cost + known.reads * self.gap >= length * WHOLE_PERCENT / 100
                });
                if !whole {
                    return;
                }
                (LATER, Some(blocks.clone()))
            }
        };
        if self.lanes[lane].waiting.len() >= MOST_WAITING {
            self.lanes[lane].waiting.clear();
        }
        let mut at = blocks.start;
        while at < blocks.end {
            match self.begun(at) {
                Some((_, _, piece)) => at = piece.end,
                None => {
                    let end = self.next_begun(at).min(blocks.end);
                    self.lanes[lane].waiting.push_back(Waiting { blocks: at..end, of: of.clone() });
                    at = end;
                }
            }
        }
    }

    /// The lane, the place there and the blocks of the piece that has block `at`.
    fn begun(&self, at: u64) -> Option<(usize, usize, Range<u64>)> {
        [NEXT, LATER].into_iter().find_map(|lane| {
            let begun = &self.lanes[lane].begun;
            let place = begun.iter().position(|piece| piece.blocks.contains(&at))?;
            Some((lane, place, begun[place].blocks.clone()))
        })
    }

    /// First block of the first piece behind `at`.
    fn next_begun(&self, at: u64) -> u64 {
        let all = self.lanes[NEXT].begun.iter().chain(&self.lanes[LATER].begun);
        all.map(|piece| piece.blocks.start).filter(|&start| start > at).min().unwrap_or(u64::MAX)
    }

    /// What is to be read for blocks that are asked for now: parts in their order. What has not been begun has to be,
    /// with [`begin`](Self::begin).
    pub fn ask(&mut self, blocks: Range<u64>) -> Vec<Part> {
        if let Some((_, some)) = self.some.range_mut(..=blocks.start).next_back()
            && blocks.end <= some.end
        {
            some.cost += blocks.end - blocks.start;
            some.reads += 1;
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut used = [false; 3];
        let mut at = blocks.start;
        while at < blocks.end {
            if let Some((lane, place, piece)) = self.begun(at) {
                let number = self.lanes[lane].begun[place].number;
                if !std::mem::replace(&mut used[lane], true) {
                    self.drop_before(lane, place);
                }
                parts.push(Part { number, blocks: at..piece.end.min(blocks.end) });
                at = piece.end;
                continue;
            }
            let end = self.next_begun(at).min(blocks.end);
            for lane in [NEXT, LATER] {
                if self.skip_waiting(lane, at..end) && !std::mem::replace(&mut used[lane], true) {
                    self.drop_before(lane, usize::MAX);
                }
            }
            while at < end {
                let piece = at..self.cut(ASKED, at, end);
                at = piece.end;
                let (number, room) = (self.numbers, self.room(&piece));
                self.numbers += 1;
                parts.push(Part { number, blocks: piece.clone() });
                // Begun as soon as a thread has time: nothing comes before it.
                self.lanes[ASKED].waiting.push_back(Waiting { blocks: piece.clone(), of: None });
                let state = State::UnderWay;
                self.lanes[ASKED].begun.push_back(Piece { number, blocks: piece, room, state });
            }
        }
        parts
    }

    /// Takes out of a lane that waits what is asked for, and what waits before it; whether there was something.
    fn skip_waiting(&mut self, lane: usize, blocks: Range<u64>) -> bool {
        let waiting = &mut self.lanes[lane].waiting;
        let is_it = |waiting: &Waiting| waiting.blocks.contains(&blocks.start);
        let Some(place) = waiting.iter().position(is_it) else { return false };
        waiting.drain(..place);
        if let Some(first) = waiting.front_mut() {
            first.blocks.start = blocks.end.min(first.blocks.end);
        }
        if waiting.front().is_some_and(|first| first.blocks.is_empty()) {
            waiting.pop_front();
        }
        true
    }

    /// Where a piece ends that begins at `at` and has nothing from `end` on: chunks end at multiples of their length,
    /// so that no sector is read twice.
    fn cut(&self, lane: usize, at: u64, end: u64) -> u64 {
        end.min((at / self.chunks[lane] + 1) * self.chunks[lane])
    }

    /// Bytes of memory that blocks take: few sizes, so that memory is used again.
    fn room(&self, blocks: &Range<u64>) -> usize {
        let first = blocks.start - blocks.start % self.sector;
        let sectors = (blocks.end - first).next_multiple_of(self.sector);
        (sectors as usize * BLOCK_BYTES).next_power_of_two().max(4 * PAGE_BYTES)
    }

    /// The next read to begin, if there is one that may.
    pub fn begin(&mut self) -> Option<Job> {
        let lane = self.may_begin()?;
        if lane == ASKED {
            let waiting = self.lanes[ASKED].waiting.pop_front()?;
            let mut begun = self.lanes[ASKED].begun.iter();
            let piece = begun.find(|piece| piece.blocks == waiting.blocks)?;
            let (number, room) = (piece.number, piece.room);
            return Some(self.job(number, waiting.blocks, room));
        }
        let range = self.lanes[lane].waiting.front()?.blocks.clone();
        let end = self.cut(lane, range.start, range.end);
        let (blocks, number) = (range.start..end, self.numbers);
        let room = self.room(&blocks);
        let Lane { begun, waiting, held } = &mut self.lanes[lane];
        match waiting.front_mut() {
            Some(front) if end < range.end => front.blocks.start = end,
            _ => drop(waiting.pop_front()),
        }
        *held += room;
        begun.push_back(Piece { number, blocks: blocks.clone(), room, state: State::UnderWay });
        self.numbers += 1;
        self.later_under_way += usize::from(lane == LATER);
        Some(self.job(number, blocks, room))
    }

    /// The lane of the next read that may begin.
    fn may_begin(&self) -> Option<usize> {
        [ASKED, NEXT, LATER].into_iter().find(|&lane| {
            let Lane { waiting, held, .. } = &self.lanes[lane];
            let Some(Waiting { blocks, .. }) = waiting.front() else { return false };
            let room = self.room(&(blocks.start..self.cut(lane, blocks.start, blocks.end)));
            let fits = *held == 0 || *held + room <= self.budget;
            lane == ASKED || fits && (lane == NEXT || self.later_under_way < LATER_AT_ONCE)
        })
    }

    /// Whether a read may begin.
    pub fn has_more(&self) -> bool {
        self.may_begin().is_some()
    }

    fn job(&mut self, number: u64, blocks: Range<u64>, room: usize) -> Job {
        let held: usize = self.lanes.iter().map(|lane| lane.held).sum();
        let most = (2 * self.budget).max(LEAST_SPARE).saturating_sub(held);
        let (memory, too_many) = self.spare.take(room, most);
        Job { number, blocks, memory, room, too_many }
    }

    #[cfg(test)]
    pub fn waits_later(&self) -> bool {
        !self.lanes[LATER].waiting.is_empty()
    }

    #[cfg(test)]
    pub fn is_begun(&self, block: u64) -> bool {
        self.begun(block).is_some()
    }

    /// Notes what became of a read.
    pub fn end(&mut self, number: u64, memory: PageBlocks, read: io::Result<()>) {
        let later = self.lanes[LATER].begun.iter().any(|piece| piece.number == number);
        self.later_under_way -= usize::from(later);
        let state = match read {
            Ok(()) => State::There(memory),
            Err(error) => State::Failed(error),
        };
        match self.piece(number) {
            Some(piece) => piece.state = state,
            None => self.spare.keep(state),
        }
    }

    fn piece(&mut self, number: u64) -> Option<&mut Piece> {
        self.lanes.iter_mut().flat_map(|lane| &mut lane.begun).find(|piece| piece.number == number)
    }

    /// What was read of a part: its memory, taken, and the first of its blocks there; nothing while it is under way.
    /// [`put`](Self::put) gives the memory back.
    ///
    /// # Errors
    /// When the read failed.
    pub fn take(&mut self, part: &Part) -> Option<io::Result<(PageBlocks, u64)>> {
        let sector = self.sector;
        let Some(piece) = self.piece(part.number) else {
            return Some(Err(io::Error::other("a read was lost")));
        };
        let first = piece.blocks.start - piece.blocks.start % sector;
        match std::mem::replace(&mut piece.state, State::UnderWay) {
            State::UnderWay => None,
            State::There(memory) => Some(Ok((memory, first))),
            State::Failed(error) => {
                // The next one to ask has it read anew.
                for lane in &mut self.lanes {
                    let Some(at) = lane.begun.iter().position(|p| p.number == part.number) else {
                        continue;
                    };
                    let piece = lane.begun.remove(at);
                    lane.held = lane.held.saturating_sub(piece.map_or(0, |piece| piece.room));
                }
                Some(Err(error))
            }
        }
    }

    /// Gives back what was [taken](Self::take): the rest of it may be asked for.
    pub fn put(&mut self, number: u64, memory: PageBlocks) {
        match self.piece(number) {
            Some(piece) => piece.state = State::There(memory),
            None => self.spare.keep(State::There(memory)),
        }
    }

    /// Forgets what was asked for: it has been used, or its reader has failed.
    pub fn asked_and_answered(&mut self) {
        self.lanes[ASKED].waiting.clear();
        for piece in std::mem::take(&mut self.lanes[ASKED].begun) {
            self.spare.keep(piece.state);
        }
    }

    /// Forgets the first `count` pieces of a lane, and those under way, when they end.
    fn drop_before(&mut self, lane: usize, count: usize) {
        let Lane { begun, held, .. } = &mut self.lanes[lane];
        for piece in begun.drain(..count.min(begun.len())) {
            *held -= piece.room;
            if lane == LATER && matches!(piece.state, State::UnderWay) {
                self.later_under_way -= 1;
            }
            self.spare.keep(piece.state);
        }
    }
}

/// Memory that waits to be used again, by its size.
#[derive(Default)]
struct Spare {
    by_size: HashMap<usize, Vec<PageBlocks>>,
    bytes: usize,
}

impl Spare {
    /// Memory of `room` bytes, if there is some; and what is to be dropped so that no more than `most` wait.
    fn take(&mut self, room: usize, most: usize) -> (Option<PageBlocks>, Vec<PageBlocks>) {
        let found = self.by_size.get_mut(&room).and_then(Vec::pop);
        self.bytes -= if found.is_some() { room } else { 0 };
        let mut too_many = Vec::new();
        while self.bytes > most
            && let Some((&size, all)) = self.by_size.iter_mut().find(|(_, all)| !all.is_empty())
        {
            too_many.extend(all.pop());
            self.bytes -= size;
        }
        (found, too_many)
    }

    /// Keeps the memory of a piece that is no longer needed.
    fn keep(&mut self, state: State) {
        let State::There(mut memory) = state else { return };
        let room = size_of_val(memory.blocks_mut());
        self.by_size.entry(room).or_default().push(memory);
        self.bytes += room;
    }
}
