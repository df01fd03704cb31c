"""Engines for models of the SDXL architecture. The only package that imports torch and diffusers."""
