//! Where an app puts the entities of the unit it is planning.

use pergola_pipeline::Entity;

use crate::intern::{Causes, Interner};
use crate::{Domain, Fabric};

/// One emitted entity: device, cause, entity.
pub(crate) struct Emitted {
    pub device: u32,
    pub cause: u32,
    pub entity: Entity,
}

/// A cause, and what cannot be done for it.
pub(crate) type Trouble<C> = (C, Box<str>);

/// Takes what [`crate::App::plan`] emits.
pub struct Emitter<'a, D: Domain = Fabric> {
    pub(crate) devices: &'a mut Interner<D::Device>,
    pub(crate) causes: &'a mut Causes<D::Cause>,
    pub(crate) out: &'a mut Vec<Emitted>,
    pub(crate) problems: &'a mut Vec<Trouble<D::Cause>>,
}

impl<D: Domain> Emitter<'_, D> {
    /// `device` shall hold `entity`, because of `cause`. Emitting the same entity twice is the same as once, also from
    /// different units. Different values for one key are a conflict; the first owner in order wins.
    pub fn emit(&mut self, device: &D::Device, entity: Entity, cause: &D::Cause) {
        let device = self.devices.intern(device);
        let cause = self.causes.intern(cause);
        self.out.push(Emitted { device, cause, entity });
    }

    /// Every one of `devices` shall hold `entity`.
    pub fn emit_on<'d>(&mut self, devices: impl IntoIterator<Item = &'d D::Device>, entity: &Entity, cause: &D::Cause) {
        for device in devices {
            self.emit(device, entity.clone(), cause);
        }
    }

    /// Something asked for by `cause` cannot be done, in words for the person who asked. It is shown with the plan's
    /// status until the unit is planned again without it.
    pub fn problem(&mut self, cause: &D::Cause, text: impl Into<String>) {
        self.problems.push((cause.clone(), text.into().into_boxed_str()));
    }
}
