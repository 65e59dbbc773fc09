//! Names and shapes of the tensors of a state dict.

/// Name and shape of a tensor in a state dict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterShape {
    /// The published name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// Lengths of the axes.
    pub shape: Vec<u64>,
}

/// A state dict, listed layer by layer.
#[derive(Debug, Default)]
pub(super) struct StateDict(Vec<ParameterShape>);

impl StateDict {
    pub(super) fn push(&mut self, name: String, shape: &[u32]) {
        self.0.push(ParameterShape { name, shape: shape.iter().copied().map(u64::from).collect() });
    }

    /// A convolution without bias. Of a grouped one, `inputs` are those of a group.
    pub(super) fn convolution(&mut self, prefix: &str, outputs: u32, inputs: u32, kernel: u32) {
        self.push(format!("{prefix}.weight"), &[outputs, inputs, kernel, kernel]);
    }

    /// A convolution with a bias. Of a grouped one, `inputs` are those of a group.
    pub(super) fn biased_convolution(&mut self, prefix: &str, outputs: u32, inputs: u32, kernel: u32) {
        self.convolution(prefix, outputs, inputs, kernel);
        self.push(format!("{prefix}.bias"), &[outputs]);
    }

    pub(super) fn batch_norm(&mut self, prefix: &str, channels: u32) {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            self.push(format!("{prefix}.{part}"), &[channels]);
        }
    }

    pub(super) fn layer_norm(&mut self, prefix: &str, width: u32) {
        self.push(format!("{prefix}.weight"), &[width]);
        self.push(format!("{prefix}.bias"), &[width]);
    }

    pub(super) fn linear(&mut self, prefix: &str, outputs: u32, inputs: u32) {
        self.push(format!("{prefix}.weight"), &[outputs, inputs]);
        self.push(format!("{prefix}.bias"), &[outputs]);
    }

    pub(super) fn into_list(self) -> Vec<ParameterShape> {
        self.0
    }
}
