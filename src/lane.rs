//! A lane pumps object after object into the same rows, because real objects are tiny.
//!
//! # Input
//! Objects, one at a time, in pieces.
//! # Maps to
//! Chunks of rows of one or many objects. A panic in a decoder costs its object only.
//! # Known gaps
//! None.
//! # Reference
//! Design section 2.

use std::collections::VecDeque;

use bytes::Bytes;
use parsers::{Chunk, Decode, Rows};

use crate::{
    cpu::catch,
    inflate::Caps,
    pump::{ObjectError, Pump, Step},
};

/// What a lane has or needs.
pub enum LaneStep {
    /// More of the object, or word of its end.
    NeedInput,
    /// A chunk for the sinks; call again.
    Chunk(Chunk),
    /// The object is done; its rows may still be in the lane.
    Done(Result<(), ObjectError>),
}

/// An object that is in memory as a whole.
pub struct Whole {
    /// Its number in the batch.
    pub object: u32,
    /// Its bytes.
    pub input: Bytes,
    /// What reads it.
    pub decoder: Box<dyn Decode>,
}

/// What became of objects, by their numbers.
pub type Ends = Vec<(u32, Result<(), ObjectError>)>;

/// Rows under construction and the object that is being read.
pub struct Lane {
    rows: Rows,
    caps: Caps,
    pump: Option<Pump>,
    window: Vec<u8>,
    window_bytes: usize,
    /// The object that [`Lane::run`] is at, and what is left of it.
    whole: (u32, Bytes),
}

impl Lane {
    /// An idle lane.
    pub fn new(rows: Rows, caps: Caps, window_bytes: usize) -> Self {
        Self { rows, caps, pump: None, window: Vec::new(), window_bytes, whole: Default::default() }
    }

    /// Starts an object, which has this number in the batch.
    pub fn begin(&mut self, object: u32, decoder: Box<dyn Decode>) {
        let mut window = std::mem::take(&mut self.window);
        if window.capacity() != self.window_bytes {
            window = Vec::with_capacity(self.window_bytes);
        }
        self.rows.begin_object(object);
        self.pump = Some(Pump::new(decoder, self.caps, window));
    }

    /// Goes on with the object.
    pub fn step(&mut self, input: &mut Bytes, last: bool) -> LaneStep {
        let Some(pump) = &mut self.pump else {
            return LaneStep::Done(Ok(()));
        };
        let rows = &mut self.rows;
        match catch(|| pump.step(input, last, rows)) {
            Ok(Ok(Step::NeedInput)) => LaneStep::NeedInput,
            Ok(Ok(Step::Full)) => match self.rows.take() {
                Some(chunk) => LaneStep::Chunk(chunk),
                None => LaneStep::NeedInput,
            },
            Ok(Ok(Step::Done)) => self.end(Ok(())),
            Ok(Err(error)) => self.end(Err(error)),
            Err(panic) => {
                self.rows.abandon_record();
                self.end(Err(ObjectError::Panic(panic.0)))
            }
        }
    }

    /// Decodes whole objects until there is a chunk for the sinks, or none is left.
    pub fn run(&mut self, objects: &mut VecDeque<Whole>, ends: &mut Ends) -> Option<Chunk> {
        loop {
            if self.pump.is_none() {
                let next = objects.pop_front()?;
                self.begin(next.object, next.decoder);
                self.whole = (next.object, next.input);
            }
            let (object, mut input) = std::mem::take(&mut self.whole);
            let step = self.step(&mut input, true);
            self.whole = (object, input);
            match step {
                LaneStep::Chunk(chunk) => return Some(chunk),
                LaneStep::Done(end) => ends.push((object, end)),
                LaneStep::NeedInput => {}
            }
        }
    }

    /// Ends the object, as when its bytes cannot be read any further.
    pub fn end(&mut self, result: Result<(), ObjectError>) -> LaneStep {
        if let Some(pump) = self.pump.take() {
            self.window = pump.into_window();
        }
        LaneStep::Done(result)
    }

    /// Whatever rows are left.
    pub fn finish(&mut self) -> Option<Chunk> {
        self.rows.take()
    }
}
