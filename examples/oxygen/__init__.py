"""A second vital sign: oxygen saturation."""
