//! The template dependency structure: what the frames of a coded video sequence look like.

use super::super::WireError;
use super::super::bits::BitReader;

/// Decode targets and chains that a structure can have: the widths of their fields.
pub const MAX_TARGETS: usize = 32;

/// Templates that the six bits of a template id can tell apart.
const MAX_TEMPLATES: usize = 64;

/// Layers that the codecs know: four spatial ones of eight temporal ones.
const MAX_SPATIAL: u8 = 3;
const MAX_TEMPORAL: u8 = 7;

/// What a frame is to a decode target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indication {
    /// The target does without it.
    NotPresent,
    /// Shown by the target, and no later frame of the target leans on it.
    Discardable,
    /// Needed; if it can be decoded, so can all later frames of the target.
    Switch,
    /// Needed.
    Required,
}

/// What a frame is to each decode target, two bits each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indications(u64);

impl Indications {
    /// What it is to one target; to one that does not exist it is nothing.
    #[must_use]
    pub fn of(self, target: u8) -> Indication {
        match self.0.checked_shr(u32::from(target).saturating_mul(2)).unwrap_or(0) & 3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }

    pub(super) fn read(reader: &mut BitReader<'_>, targets: u8) -> Result<Self, WireError> {
        let mut all = 0;
        for target in 0..u32::from(targets) {
            let one = u64::from(reader.bits(2)?);
            all |= one.checked_shl(target.saturating_mul(2)).unwrap_or(0);
        }
        Ok(Self(all))
    }
}

/// How far back the frames lie that a frame leans on, in frame numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Diffs {
    /// AV1 has eight reference buffers, the others fewer.
    diffs: [u16; 8],
    count: u8,
}

impl Diffs {
    /// The distances, each at least 1.
    #[must_use]
    pub fn as_slice(&self) -> &[u16] {
        self.diffs.get(..usize::from(self.count)).unwrap_or_default()
    }

    fn push(&mut self, less_one: u32) -> Result<(), WireError> {
        let place = self.diffs.get_mut(usize::from(self.count)).ok_or(WireError)?;
        *place = u16::try_from(less_one.saturating_add(1)).map_err(|_| WireError)?;
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// `template_fdiffs`: four bits each.
    fn read_template(reader: &mut BitReader<'_>) -> Result<Self, WireError> {
        let mut diffs = Self::default();
        while reader.flag()? {
            diffs.push(reader.bits(4)?)?;
        }
        Ok(diffs)
    }

    /// `frame_fdiffs`: each with its own size.
    pub(super) fn read_custom(reader: &mut BitReader<'_>) -> Result<Self, WireError> {
        let mut diffs = Self::default();
        loop {
            match reader.bits(2)? {
                0 => return Ok(diffs),
                size => diffs.push(reader.bits(size.saturating_mul(4))?)?,
            }
        }
    }
}

/// How far back the last frame of each chain lies, in frame numbers; 0 begins the chain anew.
pub(super) type ChainDiffs = [u8; MAX_TARGETS];

/// Reads `chains` distances of `width` bits.
pub(super) fn read_chains(
    reader: &mut BitReader<'_>,
    chains: u8,
    width: u32,
) -> Result<ChainDiffs, WireError> {
    let mut diffs = ChainDiffs::default();
    for diff in diffs.iter_mut().take(usize::from(chains)) {
        *diff = reader.byte(width)?;
    }
    Ok(diffs)
}

/// What most frames of a kind say of themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Template {
    pub spatial: u8,
    pub temporal: u8,
    pub indications: Indications,
    pub diffs: Diffs,
    pub chains: ChainDiffs,
}

/// The kinds of frames and the decode targets of one coded video sequence. It comes with its first
/// packet and is needed to read all others; at most 4 kB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    offset: u8,
    targets: u8,
    chains: u8,
    templates: Vec<Template>,
    /// Spatial and temporal layer that each target shows.
    layers: [(u8, u8); MAX_TARGETS],
    protected_by: [u8; MAX_TARGETS],
    /// Width and height of each spatial layer.
    sizes: Vec<(u32, u32)>,
}

impl Structure {
    /// How many decode targets there are, 1 to 32.
    #[must_use]
    pub fn targets(&self) -> u8 {
        self.targets
    }

    /// How many chains there are; without any, losses show only in what frames lean on.
    #[must_use]
    pub fn chains(&self) -> u8 {
        self.chains
    }

    /// All decode targets as a mask, target 0 the lowest bit.
    #[must_use]
    pub fn all(&self) -> u32 {
        u32::MAX.checked_shr(32u32.saturating_sub(u32::from(self.targets))).unwrap_or(0)
    }

    /// Spatial and temporal layer that a target shows at best; `None` if there is no such target.
    #[must_use]
    pub fn layer_of(&self, target: u8) -> Option<(u8, u8)> {
        self.layers.get(..usize::from(self.targets))?.get(usize::from(target)).copied()
    }

    /// The target that shows most of what lies within the two layers, picture size first; `None`
    /// if each shows more.
    #[must_use]
    pub fn highest(&self, spatial: u8, temporal: u8) -> Option<u8> {
        let within = self.mask_within(spatial, temporal);
        (0..self.targets).filter(|target| has(within, *target)).max_by_key(|t| self.layer_of(*t))
    }

    /// The targets that show no more than the two layers, as a mask: what can still be decoded
    /// when only these layers are sent.
    #[must_use]
    pub fn mask_within(&self, spatial: u8, temporal: u8) -> u32 {
        let layers = self.layers.iter().take(usize::from(self.targets)).enumerate();
        let within = layers.filter(|(_, layer)| layer.0 <= spatial && layer.1 <= temporal);
        within.fold(0, |mask, (target, _)| {
            mask | u32::try_from(target).ok().and_then(|at| 1u32.checked_shl(at)).unwrap_or(0)
        })
    }

    /// The chain that protects a target: while none of its frames is missing, the target can be
    /// decoded.
    #[must_use]
    pub fn chain_of(&self, target: u8) -> Option<u8> {
        let protected = self.chains > 0 && target < self.targets;
        protected.then(|| self.protected_by.get(usize::from(target)).copied())?
    }

    /// The highest spatial and the highest temporal layer.
    #[must_use]
    pub fn top(&self) -> (u8, u8) {
        self.templates.iter().fold((0, 0), |top, template| {
            (top.0.max(template.spatial), top.1.max(template.temporal))
        })
    }

    /// Width and height of a spatial layer, if they were told.
    #[must_use]
    pub fn size(&self, spatial: u8) -> Option<(u32, u32)> {
        self.sizes.get(usize::from(spatial)).copied()
    }

    /// What a frame's template id stands for; `None` if it belongs to another structure.
    pub(super) fn template(&self, id: u8) -> Option<&Template> {
        self.templates.get(usize::from(id.wrapping_sub(self.offset) & 0x3f))
    }

    pub(super) fn read(reader: &mut BitReader<'_>) -> Result<Self, WireError> {
        let offset = reader.byte(6)?;
        let targets = reader.byte(5)?.saturating_add(1);
        let mut templates = read_layers(reader)?;
        for template in &mut templates {
            template.indications = Indications::read(reader, targets)?;
        }
        for template in &mut templates {
            template.diffs = Diffs::read_template(reader)?;
        }
        let mut protected_by = [0; MAX_TARGETS];
        let chains = reader.below(u32::from(targets).saturating_add(1))?;
        let chains = u8::try_from(chains).map_err(|_| WireError)?;
        if chains > 0 {
            for by in protected_by.iter_mut().take(usize::from(targets)) {
                let chain = reader.below(u32::from(chains))?;
                *by = u8::try_from(chain).map_err(|_| WireError)?;
            }
            for template in &mut templates {
                template.chains = read_chains(reader, chains, 4)?;
            }
        }
        let spatial = templates.last().map_or(0, |template| template.spatial);
        let mut sizes = Vec::new();
        if reader.flag()? {
            for _ in 0..=spatial {
                let width = reader.bits(16)?.saturating_add(1);
                sizes.push((width, reader.bits(16)?.saturating_add(1)));
            }
        }
        let layers = layers_of_targets(&templates);
        Ok(Self { offset, targets, chains, templates, layers, protected_by, sizes })
    }
}

/// `template_layers`: one template for each step through the layers.
fn read_layers(reader: &mut BitReader<'_>) -> Result<Vec<Template>, WireError> {
    let mut templates = Vec::new();
    let mut template = Template::default();
    loop {
        if templates.len() == MAX_TEMPLATES {
            return Err(WireError);
        }
        templates.push(template);
        match reader.bits(2)? {
            0 => {}
            1 => template.temporal = template.temporal.saturating_add(1),
            2 => {
                template.temporal = 0;
                template.spatial = template.spatial.saturating_add(1);
            }
            _ => return Ok(templates),
        }
        if template.spatial > MAX_SPATIAL || template.temporal > MAX_TEMPORAL {
            return Err(WireError);
        }
    }
}

/// A target shows the highest of the layers whose frames are present in it.
fn layers_of_targets(templates: &[Template]) -> [(u8, u8); MAX_TARGETS] {
    let mut layers = [(0, 0); MAX_TARGETS];
    for (target, layer) in (0..).zip(&mut layers) {
        for template in templates {
            if template.indications.of(target) != Indication::NotPresent {
                *layer = (layer.0.max(template.spatial), layer.1.max(template.temporal));
            }
        }
    }
    layers
}

/// Whether a target is in a mask.
pub(super) fn has(mask: u32, target: u8) -> bool {
    mask.checked_shr(u32::from(target)).unwrap_or(0) & 1 != 0
}
