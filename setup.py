from setuptools import Extension, setup

KERNELS = ("nw_fill", "row_jsd", "edit_band", "soft_align")
HEADERS = [name for kernel in KERNELS for name in (kernel, f"{kernel}_lanes")] + ["float_lanes", "float_lanes_end"]

setup(
    ext_modules=[
        Extension(
            "nwa_lightning._nw",
            sources=["src_ext/_nw.pyx", *(f"src_ext/{kernel}.c" for kernel in KERNELS)],
            depends=[f"src_ext/{name}.h" for name in HEADERS],
            extra_compile_args=["-O3"],
        )
    ]
)
