//! Machine code without the feature `jit`, or on processors that the compiler is not used for: none. Programs are interpreted.

use crate::exec::{Run, Stop};
use crate::program::Program;

/// There is never one.
pub(crate) enum Native {}

impl Native {
    pub fn new(_: &Program) -> Option<Native> {
        None
    }

    pub fn pass(&self, _: &mut Run<'_>, _: &mut Vec<u8>) -> Option<Stop> {
        match *self {}
    }

    pub fn parse(&self, _: &mut Run<'_>) -> bool {
        match *self {}
    }

    pub fn ingress(&self, _: &mut Run<'_>) {
        match *self {}
    }

    pub fn egress(&self, _: &mut Run<'_>) {
        match *self {}
    }

    pub fn deparse(&self, _: &mut Run<'_>, _: &mut Vec<u8>) {
        match *self {}
    }

    pub fn calculate(&self, _: &mut Run<'_>, _: u16) -> Option<u64> {
        match *self {}
    }
}
